"""Measuring how right the labels are."""
