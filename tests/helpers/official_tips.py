"""TIPS v2's files in both published layouts, with the goldens' small weights."""

import numpy as np
from safetensors.torch import load_file, save_file

from tests.helpers.places import GOLDENS

FOLDER = GOLDENS / "tips"
HEAD_WIDTHS = (12, 16)
"""Of the goldens' vision and text towers; published ones have 64."""
TOKENIZER = FOLDER / "tokenizer.model"


def weights():
    return {name: t.float() for name, t in load_file(FOLDER / "model.safetensors").items()}


def write_hub_file(folder):
    """Write the single file of the Hugging Face hub."""
    save_file(weights(), folder / "model.safetensors")
    return {"towers": folder / "model.safetensors", "tokenizer": TOKENIZER}


def write_authors_files(folder):
    """Write the authors' two files of NumPy arrays, in which the text's also has a temperature."""
    paths = {"tokenizer": TOKENIZER}
    for tower, more in (("vision", {}), ("text", {"temperature": np.float32(0.005)})):
        prefix = f"{tower}_encoder."
        arrays = {
            name.removeprefix(prefix): tensor.numpy()
            for name, tensor in weights().items()
            if name.startswith(prefix)
        }
        paths[tower] = folder / f"tips_v2_{tower}.npz"
        np.savez(paths[tower], **arrays, **more)
    return paths


def put_files(entry, paths):
    """Put files where the catalogue looks for those of a model."""
    files = {**entry.other_parts, **entry.parts}
    for part, path in paths.items():
        place = files[part].place()
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(path.read_bytes())
