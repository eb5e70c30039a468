"""Write the table of docs/reference/formats.md: python -m tests.interop.table."""

from __future__ import annotations

import importlib.metadata
import sys
from contextlib import redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.interop.job import make_mixed_job, read_masks, read_with
from tests.interop.readers import READERS, Reader, count_same, opencv_indexed

ABSENT = [
    ("datumaro", "yolo", "reads boxes, no polygons"),
    ("panopticapi", "panoptic", "not in the package registry"),
]
"""What cannot be tried, and why."""
WARNING = Reader("opencv-python-headless", "cv2", "png", opencv_indexed)


def main() -> None:
    """Print a row for each program and format."""
    rows = [
        "| program | version | `-f` | images read | pixels identical |",
        "|---|---|---|---:|---:|",
    ]
    for reader in [*READERS, WARNING]:
        try:
            version = importlib.metadata.version(reader.package)
        except importlib.metadata.PackageNotFoundError:
            rows.append(f"| {reader.package} | | {reader.format} | not installed | |")
            continue
        rows.append(f"| {reader.package} | {version} | {_describe(reader)} | {_measure(reader)} |")
    rows += [f"| {name} | | `{form}` | {why} | |" for name, form, why in ABSENT]
    sys.stdout.write("\n".join(rows) + "\n")


def _describe(reader: Reader) -> str:
    options = reader.options
    layout = " `--layout datumaro`" if options.layout == "datumaro" else ""
    return f"`{reader.format}`{layout}{' `--flat`' if options.flat else ''}"


def _measure(reader: Reader) -> str:
    with TemporaryDirectory() as folder:
        job = make_mixed_job(Path(folder))
        masks = read_masks(job)
        with redirect_stdout(sys.stderr):  # programs say a lot
            images, same = count_same(read_with(reader, job), masks)
    return f"{images} of {len(masks)} | {same:.2%}"


if __name__ == "__main__":
    main()
