"""Self-supervised teachers: the ViTs and the objectness that heads are taught by."""
