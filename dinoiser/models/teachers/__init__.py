"""Self-supervised teachers of the heads: ViTs and objectness."""
