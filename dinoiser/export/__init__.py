"""Writers of results: pure builders, and one function or class that writes each format."""

from dinoiser.export.overlay import write_overlay
from dinoiser.export.png import write_png

__all__ = ["write_overlay", "write_png"]
