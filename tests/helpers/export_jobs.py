"""Job folders without a model, and readers that are not ours."""

import warnings

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from dinoiser.batch.records import Record, RecordFile
from dinoiser.export import write_png
from dinoiser.prompts import PromptSet
from dinoiser.segmentation import Segmentation

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # it says that it works without OpenCV
    import supervision

__all__ = ["supervision"]

decodes = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
"""Mark of tests in which pycocotools decodes masks: its way of making arrays is that of numpy 1."""

PROMPTS = PromptSet.from_yaml(
    """
    version: 1
    classes:
      - {name: background, background: true}
      - {name: dog, id: 1, color: "#e6194b"}
      - {name: grass, id: 7, phrases: [grass, lawn]}
      - {name: sky, id: 3}
    """
)
IDS = [1, 3, 7]


def segmentation(labels, prompts=PROMPTS, confidence=None):
    if confidence is None:
        confidence = np.full(labels.shape, 0.5, np.float16)
    return Segmentation(labels, confidence, prompts)


def label_arrays(max_side=12, ids=(0, *IDS, 255)):
    """Small labels, so that holes, holes in holes, touching corners and full images occur."""
    shapes = hnp.array_shapes(min_dims=2, max_dims=2, max_side=max_side)
    few = st.lists(st.sampled_from(ids), min_size=1, max_size=3)
    return few.flatmap(lambda ids: hnp.arrays(np.uint8, shapes, elements=st.sampled_from(ids)))


def objects(labels):
    """What annotations hold of labels: neither background nor ignored pixels."""
    return np.where(labels == 255, 0, labels)


def scene(seed=0, size=(40, 60)):
    """Labels with a hole, several parts, ignored pixels and every class."""
    labels = np.zeros(size, np.uint8)
    labels[4:24, 4:30] = 1
    labels[10:16, 10:20] = 3
    labels[12:14, 13 + seed : 15 + seed] = 1
    labels[30:38, 2:12] = 7
    labels[30:38, 40:55] = 7
    labels[0, :] = 255
    return labels


def make_job(folder, labels_by_name, prompts=PROMPTS):
    """Lay out what `dinoiser label` leaves, for images with these labels."""
    output = folder / "out"
    records = []
    for name, labels in labels_by_name.items():
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((*labels.shape, 3), 128, np.uint8)).save(path)
        stem = name.rpartition(".")[0]
        write_png(segmentation(labels, prompts), output / "masks" / f"{stem}.png")
        records.append(
            Record(image=name, stem=stem, path=str(path), status="done", size=labels.shape)
        )
    prompts.save(output / "prompts.yaml")
    RecordFile(output).append(records)
    return output


def make_job_of_three(folder):
    """Lay out a job to review; its images lie in two folders."""
    names = ("a.png", "sub/b.png", "sub/c.d.png")
    return make_job(folder, {name: scene(seed) for seed, name in enumerate(names)})
