"""Fitting heads to images, and how the embedded model was made."""
