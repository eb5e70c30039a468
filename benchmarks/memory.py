"""Peak memory of large images against a naive version's arrays: python -m benchmarks.memory.

Each case runs in a separate process; its peak does not include the model and
the image.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path

from benchmarks.setting import PROMPTS, describe_machine, random_image, random_model
from dinoiser.segment.segmenter import Segmenter

MB = 1e6
PATCH, HEADS = 16, 12


def reset_peak() -> None:
    """Reset the peak of resident memory; Linux only."""
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """Return the highest resident memory since `reset_peak`, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    msg = "this benchmark reads /proc/self/status, so it runs on Linux only"
    raise RuntimeError(msg)


def measure(height: int, width: int, whole: bool, answer) -> None:
    """Send the growth of the peak while one image is segmented."""
    segmenter = Segmenter(random_model(), whole=whole)
    segmenter.segment(random_image(64, 64), PROMPTS)
    image = random_image(height, width)
    reset_peak()
    before = peak()
    segmenter.segment(image, PROMPTS)
    answer.put(peak() - before)


def run(height: int, width: int, whole: bool) -> float:
    """Return the growth of the peak in a new process, in bytes."""
    context = multiprocessing.get_context("spawn")
    answer = context.SimpleQueue()
    process = context.Process(target=measure, args=(height, width, whole, answer))
    process.start()
    process.join()
    return answer.get()


def main() -> None:
    """Print peaks and ratios."""
    describe_machine()
    tokens = (2048 // PATCH) ** 2
    ours = run(2048, 2048, True)
    print(f"2048 x 2048 whole ({tokens} patches): {ours / MB:.0f} MB; ", end="")
    matrix = 4 * tokens**2
    print(f"one N x N matrix {matrix / MB:.0f} MB (ours is {ours / matrix:.2f} of it), ", end="")
    print(f"attention weights of a block {HEADS * matrix / MB:.0f} MB")

    ours = run(9000, 12000, False)
    naive = 4 * len(PROMPTS.classes) * 9000 * 12000
    print(f"12000 x 9000 in windows: {ours / MB:.0f} MB; ", end="")
    print(f"K x H x W floats {naive / MB:.0f} MB (ours is {ours / naive:.2f} of it)")


if __name__ == "__main__":
    main()
