"""The curve and the picture of improving a folder: python docs/improve_image.py.

Sixty drawn scenes whose colours the embedded model has no word for. A scripted person corrects and
accepts five images through the Review tab's own session, in the order *Most useful next*, improves,
and goes on with five more; the masks are exported at the end.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from PIL import Image

from dinoiser.batch import LabelJob, Labelling, Results, Running, run
from dinoiser.batch.export import export_alone
from dinoiser.batch.improve import learn_from_reviews
from dinoiser.batch.relabel import relabel
from dinoiser.batch.reviews import read_labelled, read_reviews
from dinoiser.evaluation.metrics import ConfusionMatrix
from dinoiser.export.png import read_mask
from dinoiser.images import read_image
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scene
from dinoiser.scenes.drawing import OTHER_COLORS
from napari_dinoiser.review.review_session import ReviewSession

IMAGES, AT_A_TIME, ROUNDS = 60, 5, 4
SHOWN = 4
SIDE = 224
PROMPTS = PromptSet.from_names(["background", *OTHER_COLORS])
HERE = Running(device="cpu", scheduler="sync")
Truth = dict[str, np.ndarray]


def draw(folder: Path) -> Truth:
    """Draw the images; return their true masks by name."""
    folder.mkdir()
    truth = {}
    for i in range(IMAGES):
        scene = draw_scene(np.random.default_rng((11, i)), (SIDE, SIDE), colors=OTHER_COLORS)
        Image.fromarray(scene.image).save(folder / f"{i:02}.png")
        ids = [1 + OTHER_COLORS.index(name.split(" ", 1)[0]) for name in scene.names]
        truth[f"{i:02}.png"] = np.array([0, *ids], np.uint8)[scene.labels]
    return truth


def correct(output: Path, truth: Truth) -> None:
    """Correct and accept the next images, as a person does in the Review tab."""
    session = ReviewSession(output)
    session.arrange("most useful", only_unchecked=True)
    for _ in range(AT_A_TIME):
        assert session.current is not None
        session.current.labels = truth[session.current.labelled.image].astype(np.int64)
        session.accept()


def masks(output: Path) -> Truth:
    """Read all masks of the job by the images' names."""
    return {
        image.image: read_mask(output / "masks" / image.image, PROMPTS.label_colors)
        for image in read_labelled(output)
    }


def mean_iou(found: Truth, truth: Truth, names: set[str]) -> float:
    """Mean IoU of some images' masks."""
    matrix = ConfusionMatrix(list(PROMPTS.names))
    for name in names:
        matrix.add(found[name], truth[name])
    return matrix.mean() or 0.0


def main() -> None:
    """Print the curve, and write the picture."""
    with TemporaryDirectory() as folder:
        images, output = Path(folder) / "in", Path(folder) / "out"
        truth = draw(images)
        labelling = Labelling(PROMPTS, "tiny", "fp32")
        run(LabelJob((images,), output, labelling, Results(("png",), keep_features=True), HERE))
        stages = [masks(output)]
        for _ in range(ROUNDS):
            correct(output, truth)
            learned = learn_from_reviews(output, running=HERE).learned
            relabel(output, PROMPTS, learned=learned if learned.moves else None, running=HERE)
            stages.append(masks(output))
        assert not export_alone(output, ["coco"])
        # the same images at each stage: those that are not corrected at the last
        rest = {image.image for image in read_labelled(output)} - read_reviews(output).keys()
        for count, stage in enumerate(stages):
            sys.stdout.write(f"{count * AT_A_TIME}: {mean_iou(stage, truth, rest):.3f}\n")
        rows = []
        for name in sorted(rest)[:: len(rest) // SHOWN][:SHOWN]:
            shown = [PROMPTS.palette[stage[name]] for stage in (*stages[:2], stages[-1])]
            rows.append(np.concatenate([read_image(images / name), *shown], 1))
    place = Path(__file__).parent / "images" / "improve.jpg"
    Image.fromarray(np.concatenate(rows)).save(place, quality=88)


if __name__ == "__main__":
    main()
