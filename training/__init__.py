"""Fit heads to images; also the recipes of the embedded model."""
