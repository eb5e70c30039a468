"""Work beside the image tower with 171 classes: python -m benchmarks.many_classes.

Processor time on one thread from patch features to labels, with the words of COCO-Stuff, of images
of 1024x768: a photograph, and noise, where nearly every class can win somewhere. The goal is 0.4 s.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from PIL import Image
from skimage import data

from benchmarks.setting import describe_machine, random_image, random_model
from dinoiser.evaluation.benchmarks import find_benchmark
from dinoiser.models.load import load_model
from dinoiser.prompts import PromptSet
from dinoiser.segment.segmenter import Segmenter

SIZE = 1024, 768
ROUNDS = 3


def main() -> None:
    """Print a line for each model, image and refinement."""
    describe_machine()
    torch.set_num_threads(1)
    stuff = find_benchmark("coco-stuff").prompts("maskclip")
    prompts = PromptSet(stuff.classes, templates="simple")
    images = {
        "photograph": np.array(Image.fromarray(data.coffee()).resize(SIZE)),
        "noise": random_image(*reversed(SIZE)),
    }
    models = {"tiny": load_model("tiny", precision="fp32"), "ViT-B/16": random_model()}
    for name, model in models.items():
        for what, image in images.items():
            for refine in ("none", "edges"):
                encoded = Segmenter(model, refine=refine).encode(image)
                found = len(np.unique(encoded.segment(prompts).labels))  # embeds the words, too
                times = []
                for _ in range(ROUNDS):
                    start = time.process_time()
                    encoded.segment(prompts)
                    times.append(time.process_time() - start)
                print(
                    f"{name}, {what}, {len(prompts.classes)} classes, {found} found, {refine}: "
                    f"{min(times):.2f} s"
                )


if __name__ == "__main__":
    main()
