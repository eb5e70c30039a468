"""Measure how accurate labels are."""
