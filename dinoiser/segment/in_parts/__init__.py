"""Label large images in parts, computed on demand."""
