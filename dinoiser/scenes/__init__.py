"""Drawn, labelled scenes: what the embedded model `tiny` knows, for demos and tests offline."""

from dinoiser.scenes.backgrounds import BACKGROUNDS
from dinoiser.scenes.drawing import COLORS, SHAPES, Scene, draw_scene, draw_scenes

__all__ = ["BACKGROUNDS", "COLORS", "SHAPES", "Scene", "draw_scene", "draw_scenes"]
