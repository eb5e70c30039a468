"""Weights files: where they come from, and how they are fetched, verified and read."""
