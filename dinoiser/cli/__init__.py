"""The command line: `dinoiser label`, `demo`, `models`, `info`."""

from dinoiser.cli.app import main

__all__ = ["main"]
