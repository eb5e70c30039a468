"""Time of shortened token sequences against full ones: python -m benchmarks.text."""

from __future__ import annotations

import torch

from benchmarks.setting import PROMPTS, describe_machine, random_model, seconds
from dinoiser.models.text import SENTENCES_AT_ONCE, template_sentences


def main() -> None:
    """Print how much faster 20 classes x 80 templates are than with all 77 tokens."""
    describe_machine()
    model = random_model()
    sentences = [t.replace("{}", n) for n in PROMPTS.names for t in template_sentences("imagenet")]
    ids = model.text.tokenize(sentences)
    model.encode_text(sentences[:100])

    @torch.no_grad()
    def uncut() -> None:
        for some in ids.split(SENTENCES_AT_ONCE):
            model.clip.encode_text(some, normalize=True)

    ours = min(seconds(lambda: model.encode_text(sentences)) for _ in range(3))
    whole = seconds(uncut)
    print(f"{len(sentences)} sentences: {ours:.2f} s against {whole:.2f} s uncut, ", end="")
    print(f"{whole / ours:.1f} times faster")


if __name__ == "__main__":
    main()
