"""Time of new words on an encoded image: python -m benchmarks.reprompt."""

from __future__ import annotations

import statistics

from benchmarks.setting import PROMPTS, describe_machine, random_image, random_model, seconds
from dinoiser.prompts import PromptSet
from dinoiser.segment.segmenter import Segmenter


def main() -> None:
    """Print the time for 20 changed classes on 1024 x 768, against encoding the image again."""
    describe_machine()
    segmenter = Segmenter(random_model())
    segmenter.pipeline.phrases.folder = None
    image = random_image(768, 1024)
    reordered = PromptSet.from_names(["background", *reversed(PROMPTS.names[1:])])
    encoded = segmenter.encode(image)
    encoded.segment(PROMPTS)

    encode = statistics.median(seconds(lambda: segmenter.encode(image)) for _ in range(5))
    sets = [reordered, PROMPTS] * 8
    segment = statistics.median(seconds(lambda s=s: encoded.segment(s)) for s in sets)
    print(f"encode {encode:.3f} s, segment with known words {segment:.3f} s: ", end="")
    print(f"{encode / segment:.1f} times faster")
    word = seconds(lambda: segmenter.pipeline.phrases.get(["a word not seen before"]))
    print(f"a new word, once: {word:.2f} s more for its 80 sentences")


if __name__ == "__main__":
    main()
