"""Jobs of objects whose colours the embedded model has no word for, and their true masks."""

import numpy as np
from PIL import Image

from dinoiser.batch import LabelJob, Labelling, Results, Running, SegmentSettings, run
from dinoiser.batch.reviews import Reviews, read_labelled
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scene
from dinoiser.scenes.drawing import OTHER_COLORS

PROMPTS = PromptSet.from_names(["background", *OTHER_COLORS])
SYNC = Running(device="cpu", scheduler="sync")


def draw(folder, count, size=(224, 224), seed=7):
    """Draw images into a folder; return their true masks by stem."""
    folder.mkdir()
    truth = {}
    for i in range(count):
        scene = draw_scene(np.random.default_rng((seed, i)), size, colors=OTHER_COLORS)
        Image.fromarray(scene.image).save(folder / f"{i:03}.png")
        ids = [1 + OTHER_COLORS.index(name.split(" ", 1)[0]) for name in scene.names]
        truth[f"{i:03}"] = np.array([0, *ids], np.uint8)[scene.labels]
    return truth


def label(folder, output, prompts=PROMPTS, *, keep_features=True, **more):
    """Label the images of a folder; return the summary."""
    labelling = Labelling(prompts, "tiny", "fp32", settings=SegmentSettings(refine="none"), **more)
    results = Results(("png",), report=False, keep_features=keep_features)
    return run(LabelJob((folder,), output, labelling, results, SYNC))


def accept(output, truth, count, prompts=PROMPTS):
    """Accept the first images of a job, corrected to their true masks."""
    reviews = Reviews(output, prompts)
    for image in read_labelled(output)[:count]:
        reviews.save(image, "accepted", truth[image.stem])


def grey_values(output, mode):
    """Grey values of a job's masks by stem, as any program reads them, all of a Pillow mode."""
    found = {}
    for path in sorted((output / "masks").glob("*.png")):
        with Image.open(path) as mask:
            assert mask.mode == mode
            found[path.stem] = np.asarray(mask)
    return found


def masks(output):
    """Bytes of the masks of a job, by their names."""
    return {path.name: path.read_bytes() for path in (output / "masks").glob("*.png")}
