"""Where things lie in a checkout."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
GOLDENS = ROOT / "tests" / "goldens"
SHARED = ROOT.parent / "shared" / "goldens"
"""Large goldens that do not travel with the code; tests that need them skip without them."""
