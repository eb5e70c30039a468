"""Names in the window for what sentences of the library call by options of the command line."""

from __future__ import annotations

import re

START_ANEW = "Start anew"
FOLD = "Formats, scheduler and command"
NAMES = {
    "--overwrite": f"“{START_ANEW}” (under “{FOLD}”)",
    "--scheduler": f"“Scheduler” (under “{FOLD}”)",
    "--short-side": "“Short side”",
    "--whole": "“as a whole”",
    "--heads": "“Heads…”",
}
_OPTION = re.compile(r"--[a-z-]+")


def in_window(sentence: str) -> str:
    """Name options by what sets them in the window; what it does not have keeps its name."""
    return _OPTION.sub(lambda option: NAMES.get(option[0], option[0]), sentence)
