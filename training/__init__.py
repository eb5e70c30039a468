"""Fitting heads to pictures, and how the embedded model was made."""
