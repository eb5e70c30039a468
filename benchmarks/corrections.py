"""What corrected masks teach words, heads, and both: python -m benchmarks.corrections.

Mean IoU of the embedded model on scenes that nobody has corrected, against the number of corrected
ones: by words alone, with what `dinoiser.learn` learns from them, with heads refitted by them
(`dinoiser train --teacher masks`), and with what is learnt on top of these heads. "better" is how
often the command says that the heads are better.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.refit import SETTINGS, SIDE, WORDS, refit, score, shapes_of
from benchmarks.setting import SCENES, describe_machine
from dinoiser import PromptSet, Segmenter, learn, load_model
from dinoiser.models.clip_dinoiser import ClipDinoiser
from dinoiser.scenes import draw_scenes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dinoiser import Learned
    from dinoiser.scenes import Scene

COUNTS = (5, 10, 20, 50)
WAYS = ("words", "learnt", "heads", "heads, then learnt")


def learn_from(model: ClipDinoiser, scenes: Sequence[Scene]) -> Learned:
    """Learn from scenes whose masks are right, next to the words."""
    segmenter = Segmenter(model, whole=True, refine="none")
    images = ((segmenter.encode(scene.image), shapes_of(scene)) for scene in scenes)
    return learn(images, PromptSet.from_names(WORDS), segmenter.pipeline)


def measure(kind: str, seed: int, options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Return mean IoU (counts, ways), and seconds and verdicts of the fits (counts, 2)."""
    model = load_model("tiny", device="cpu", precision="fp32")
    assert isinstance(model, ClipDinoiser)
    corrected, tested = (
        list(draw_scenes(count, 7100 + 2 * seed + part, (SIDE, SIDE), **SCENES[kind]))
        for part, count in enumerate((max(options.counts), options.tested))
    )
    settings = replace(
        SETTINGS, steps=options.steps, batch_size=options.batch, sample=max(options.counts),
        gamma=model.gamma, seed=seed,
    )  # fmt: skip
    words, _ = score(model, tested)
    curves, fits = [], []
    for count in options.counts:
        some = corrected[:count]
        heads, seconds, better = refit(model, some, "masks", settings)
        refitted = ClipDinoiser(model.clip, heads, model.gamma)
        curves.append([
            words,
            score(model, tested, learned=learn_from(model, some))[0],
            score(refitted, tested)[0],
            score(refitted, tested, learned=learn_from(refitted, some))[0],
        ])  # fmt: skip
        fits.append([seconds, better])
    return np.array(curves), np.array(fits, float)


def main() -> None:
    """Print a table: a line for each kind of scenes and number of corrected ones."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--kinds", nargs="+", default=["microscope", "hard"], choices=SCENES)
    parser.add_argument("--counts", nargs="+", type=int, default=COUNTS, help="corrected scenes")
    parser.add_argument("--tested", type=int, default=40, help="scenes to score")
    parser.add_argument("--steps", type=int, default=60, help="of each fit")
    parser.add_argument("--batch", type=int, default=4, help="crops per step")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    describe_machine()
    print(f"| scenes | corrected | {' | '.join(WAYS)} | gains by seed | fit | better |")
    print("|---" * (len(WAYS) + 5) + "|")
    started = time.perf_counter()
    for kind in options.kinds:
        curves, fits = map(
            np.array, zip(*(measure(kind, i, options) for i in range(options.seeds)), strict=True)
        )
        for row, count in enumerate(options.counts):
            means = " | ".join(f"{value:.3f}" for value in curves[:, row].mean(0))
            gains = "; ".join(
                ", ".join(f"{value:+.3f}" for value in one[row, 1:] - one[row, 0]) for one in curves
            )
            seconds, better = fits[:, row].mean(0)[0], int(fits[:, row, 1].sum())
            print(
                f"| {kind} | {count} | {means} | {gains} | {seconds:.0f} s | "
                f"{better} of {options.seeds} |",
                flush=True,
            )
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
