"""Large images in parts: chunks that are computed when they are needed."""
