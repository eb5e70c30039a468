"""Recipes: how the weights that dinoiser uses are made."""
