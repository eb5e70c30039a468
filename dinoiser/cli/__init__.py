"""The command line, one file per sub-command of `dinoiser`.

`label` and `export` make masks and annotations, `relabel` and `improve` make
them anew, `diagnose` says what corrections tell about the words, `features`
what is kept, `train` fits heads, `demo`, `compare` and `evaluate` show how good
a model is, `models` and `info` tell what is there.
"""

from dinoiser.cli.app import main

__all__ = ["main"]
