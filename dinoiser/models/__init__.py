"""Models: patch features of images and embeddings of phrases in one space."""
