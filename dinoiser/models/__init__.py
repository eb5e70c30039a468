"""Models: patch features of pictures and embeddings of phrases in one space."""
