"""Bridges: annotations that people made in other programs, and how they come back into a job."""
