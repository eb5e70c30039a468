"""How often labels ask something of a device: python -m benchmarks.kernels.

Counts the kernels and the copies, in either direction, from the scores of an image's windows to
its labels, which cost a GPU more than the numbers in them. On CUDA if there is any, else on the
stand-in of the tests: it is counted, not timed. To compare with another checkout, give it first:
`PYTHONPATH=OTHER python benchmarks/kernels.py`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dinoiser.models.load import load_model
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scenes
from dinoiser.scenes.drawing import COLORS, SHAPES
from dinoiser.segment.pipeline import Pipeline
from dinoiser.segment.settings import SegmentSettings

PROMPTS = PromptSet.from_names(
    ["background", *(f"{color} {shape}" for color in COLORS for shape in SHAPES)][:20]
)
SIZES = (448, 448), (768, 1024), (1536, 2048)
WAITS = {"aten::_local_scalar_dense", "aten::nonzero", "aten::equal"}
"""Operations for whose result the processor waits."""
ALLOCATE = {"aten::empty", "aten::empty_strided", "aten::empty_like", "aten::new_empty"}


def device() -> torch.device:
    """Return the GPU, or what stands in for it."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    from tests.other_device.device import NAME

    return torch.device(NAME)


class Counting(TorchDispatchMode):
    """Counts what is asked of a device.

    Attributes
    ----------
    found
        How many "kernels", copies "there" and "back", and single values or
        counts that are waited for ("waits").
    """

    def __init__(self, there: torch.device) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()
        self._there = there.type

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count it."""
        result = func(*args, **(kwargs or {}))
        given, got = (
            {t.device.type for t in tree_leaves(some) if isinstance(t, torch.Tensor)}
            for some in ((args, kwargs or {}), result)
        )
        name = func._schema.name
        if name in ("aten::copy_", "aten::_to_copy") and len(given | got) > 1:
            self.found["there" if self._there in got else "back"] += 1
        elif name in WAITS and self._there in given:
            self.found["waits"] += 1
        elif self._there in given | got and name not in ALLOCATE and not func.is_view:
            self.found["kernels"] += 1
        return result


def count(size: tuple[int, int], refine: str) -> Counter[str]:
    """Count what the labels of an image of (height, width) pixels ask of the device."""
    there = device()
    model = load_model("tiny", "cpu", "fp32")
    pipeline = Pipeline.build(model, SegmentSettings(refine=refine, short_side=448))
    [scene] = draw_scenes(1, 1, size, hard=True)  # of which several classes win
    image = scene.image
    layout = pipeline.plan(size)
    blocks = pipeline.blocks(image, layout)
    scores, colours = torch.cat(pipeline.score_blocks(blocks, PROMPTS)), pipeline.colours(blocks)
    with torch.no_grad(), Counting(there) as counting:
        pipeline.decide(image, layout, scores.to(there), PROMPTS, colours)
    counting.found["there"] -= 1  # the scores
    return counting.found


def main() -> None:
    """Print a line for each size and refinement."""
    for refine in ("none", "edges"):
        for height, width in SIZES:
            found = count((height, width), refine)
            what = ", ".join(
                f"{found[name]} {name}" for name in ("kernels", "there", "back", "waits")
            )
            print(f"{width}x{height}, {refine}: {what}", flush=True)


if __name__ == "__main__":
    main()
