"""Drawn, labelled scenes: what the embedded model `tiny` knows, for demos and tests offline."""

from dinoiser.scenes.backgrounds import BACKGROUNDS
from dinoiser.scenes.domains import DOMAINS
from dinoiser.scenes.drawing import COLORS, SHAPES, Scene, draw_scene, draw_scenes

__all__ = ["BACKGROUNDS", "COLORS", "DOMAINS", "SHAPES", "Scene", "draw_scene", "draw_scenes"]
