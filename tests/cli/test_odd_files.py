"""A folder as people have it: what can be read is labelled, what cannot is told, nothing stops."""

import io
import json
import os
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from dinoiser.batch import read_records
from dinoiser.scenes import draw_scene

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="names and links are POSIX's")


def encoded(drawn_image, kind="PNG", **options):
    data = io.BytesIO()
    drawn_image.save(data, kind, **options)
    return data.getvalue()


def tiff(array, **options):
    data = io.BytesIO()
    tifffile.imwrite(data, array, **options)
    return data.getvalue()


def huge_png():
    """A header that promises a billion pixels."""

    def chunk(kind, data):
        return (
            len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        )

    header = (40_000).to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", bytes(100))


@pytest.fixture(scope="module")
def drawn_image():
    return Image.fromarray(draw_scene(np.random.default_rng(2), (96, 128)).image)


def good_files(drawn_image):
    grey, pixels = drawn_image.convert("L"), np.asarray(drawn_image)
    orient = {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"}
    adaptive = drawn_image.convert("P", palette=Image.Palette.ADAPTIVE)
    frames = {"save_all": True, "append_images": [grey.convert("RGB"), drawn_image]}
    jpeg = encoded(drawn_image, "JPEG")
    return {
        "plain.jpg": jpeg,
        "CAPITALS.JPG": jpeg,
        "plain.png": encoded(drawn_image),
        "plain.bmp": encoded(drawn_image, "BMP"),
        "plain.gif": encoded(drawn_image, "GIF"),
        "plain.webp": encoded(drawn_image, "WEBP"),
        "plain.tif": tiff(pixels),
        "plain.tiff": tiff(pixels, compression="zlib", tile=(32, 32)),
        "plain.avif": encoded(drawn_image, "AVIF"),
        "plain.jfif": jpeg,
        "grey.png": encoded(grey),
        "grey.jpg": encoded(grey, "JPEG"),
        "one bit.png": encoded(drawn_image.convert("1")),
        "sixteen bits.png": encoded(Image.fromarray(np.asarray(grey).astype(np.uint16) * 200)),
        "sixteen bits.tif": tiff(pixels.astype(np.uint16) * 200, photometric="rgb"),
        "float.tif": tiff(pixels.astype(np.float32) / 255, photometric="rgb"),
        "stack.tif": tiff(np.stack([np.asarray(grey)] * 3), photometric="minisblack"),
        "cmyk.jpg": encoded(drawn_image.convert("CMYK"), "JPEG"),
        "cmyk.tif": encoded(drawn_image.convert("CMYK"), "TIFF"),
        "alpha.png": encoded(drawn_image.convert("RGBA")),
        "grey alpha.png": encoded(drawn_image.convert("LA")),
        "palette.png": encoded(adaptive),
        "palette alpha.png": encoded(adaptive, transparency=bytes(range(0, 250, 10))),
        "turned.jpg": encoded(drawn_image, "JPEG", **orient),
        "animated.gif": encoded(drawn_image, "GIF", **frames),
        "animated.webp": encoded(drawn_image, "WEBP", **frames),
        "animated.png": encoded(drawn_image, "PNG", **frames),
        "progressive.jpg": encoded(drawn_image, "JPEG", progressive=True),
        "really a png.jpg": encoded(drawn_image),
        "really a jpeg.png": jpeg,
        "really a webp.gif": encoded(drawn_image, "WEBP"),
        "bytes after the end.jpg": jpeg + b"and more",
        "dot.png": encoded(drawn_image.resize((1, 1))),
        "line.png": encoded(drawn_image.resize((900, 1))),
        "pole.png": encoded(drawn_image.resize((1, 900))),
        " spaces  and tabs\t.png": encoded(drawn_image),
        "new\nline.png": encoded(drawn_image),
        "emoji 🐕 und Umlaute äöü 犬.png": encoded(drawn_image),
        "quotes\"'`$(x)&;.png": encoded(drawn_image),
        "<b>markup</b> [red]rich[/red].png": encoded(drawn_image),
        "back\\slash.png": encoded(drawn_image),
        "-o.png": encoded(drawn_image),
        "..two dots.png".lstrip("."): encoded(drawn_image),
        "many.dots.in.a.name.png": encoded(drawn_image),
        "a" * 246 + ".png": encoded(drawn_image),
        "twin.png": encoded(drawn_image),
        "twin.jpg": jpeg,
        "deep/er/and/deeper/a.png": encoded(drawn_image),
        "folder.jpg/inside.png": encoded(drawn_image),
    }


def bad_files(drawn_image):
    jpeg, png = encoded(drawn_image, "JPEG"), encoded(drawn_image)
    broken = bytearray(png)
    broken[60:90] = bytes(30)
    return {
        "empty.jpg": b"",
        "empty.png": b"",
        "text.jpg": b"this is no image\n",
        "page.png": b"<html><body>404 Not Found</body></html>",
        "archive.jpg": b"PK\x03\x04" + bytes(100),
        "document.tif": b"%PDF-1.7\n" + bytes(100),
        "zeros.png": bytes(1000),
        "truncated.jpg": jpeg[: len(jpeg) // 2],
        "truncated.png": png[: len(png) // 2],
        "truncated.webp": encoded(drawn_image, "WEBP")[:200],
        "truncated.tif": tiff(np.asarray(drawn_image))[:2000],
        "only a header.jpg": jpeg[:20],
        "only a header.png": png[:8],
        "only a header.tif": b"II*\0\x08\0\0\0",
        "broken.png": bytes(broken),
        "huge.png": huge_png(),
        "five channels.tif": tiff(
            np.zeros((40, 50, 5), np.uint8), photometric="minisblack", planarconfig="contig"
        ),
    }


@pytest.fixture(scope="module")
def outcome(drawn_image, tmp_path_factory):
    """The folder, what labelling it left, and what was said."""
    top = tmp_path_factory.mktemp("odd")
    folder, out = top / "in", top / "out"
    for name, data in {**good_files(drawn_image), **bad_files(drawn_image)}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / os.fsdecode(b"caf\xe9.png")).write_bytes(encoded(drawn_image))
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    (folder / "broken link.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "circle.jpg").symlink_to(folder / "circle.jpg")
    os.mkfifo(folder / "pipe.jpg")
    (folder / "notes.txt").write_text("not asked for")
    (folder / ".hidden.png").write_bytes(encoded(drawn_image))
    unreadable = folder / "unreadable.png"
    unreadable.write_bytes(encoded(drawn_image))
    unreadable.chmod(0)
    program = [sys.executable, "-c", "from dinoiser.cli import main; main()", "label", str(folder)]
    words = ["-p", "background, red circle, blue star", "-m", "tiny", "-d", "cpu", "-o", str(out)]
    names = ("png", "overlay", "coco", "yolo", "panoptic")
    formats = [part for name in names for part in ("-f", name)]
    done = subprocess.run(
        [*program, *words, *formats, "--json"], capture_output=True, text=True, timeout=300
    )
    return folder, out, done


def failing(drawn_image):
    names = [*bad_files(drawn_image), "broken link.jpg", "circle.jpg", "pipe.jpg", r"caf\udce9.png"]
    return names if os.geteuid() == 0 else [*names, "unreadable.png"]


def test_every_good_image_is_labelled_and_every_bad_one_is_told(outcome, drawn_image):
    _, out, done = outcome
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr, done.stderr[-3000:]
    assert "Warning" not in done.stderr
    document = json.loads(done.stdout)
    assert sorted(document["failed"]) == sorted(failing(drawn_image))
    labelled = {record.image for record in read_records(out) if record.status == "done"}
    assert labelled >= set(good_files(drawn_image))
    assert document["images"] == len(labelled) + len(document["failed"]) >= 69


def test_reasons_say_what_is_wrong(outcome):
    reasons = json.loads(outcome[2].stdout)["failed"]
    for name, part in {
        "empty.jpg": "0 bytes",
        "text.jpg": "not an image",
        "truncated.jpg": "truncated",
        "huge.png": "pixels",
        "pipe.jpg": "device or pipe",
        "broken link.jpg": "no file",
        "five channels.tif": "channels",
    }.items():
        assert part in reasons[name], reasons[name]
    assert all(len(reason) > 20 and "\n" not in reason for reason in reasons.values())


def test_masks_are_as_large_as_the_images_are_seen(outcome):
    _, out, _ = outcome
    sizes = {record.image: record.size for record in read_records(out) if record.size}
    assert sizes["turned.jpg"] == (128, 96)
    assert sizes["plain.jpg"] == (96, 128)
    for record in read_records(out):
        if record.status == "done":
            with Image.open(out / "masks" / f"{record.stem}.png") as mask:
                assert mask.size == record.size[::-1]


def test_results_stay_inside_the_output_folder(outcome):
    folder, out, _ = outcome
    assert sorted(path.name for path in folder.parent.iterdir()) == ["in", "out"]
    stems = [record.stem for record in read_records(out) if record.status == "done"]
    assert len(stems) == len(set(stems))
    assert {"twin.png", "twin.jpg"} <= set(stems)


def test_annotations_name_exactly_the_labelled_images(outcome):
    _, out, _ = outcome
    labelled = {record.image for record in read_records(out) if record.status == "done"}
    for name in ("annotations.json", "panoptic.json"):
        document = json.loads((out / name).read_text())
        assert {image["file_name"] for image in document["images"]} == labelled
    report = (out / "report.html").read_text()
    assert "<b>markup</b>" not in report
    assert "truncated.jpg" in report


def test_the_same_again_changes_nothing_and_says_the_same(outcome, drawn_image, dinoiser):
    folder, _, first = outcome
    code, out, _ = dinoiser(*first.args[first.args.index("label") :])
    assert code == 1
    document = json.loads(out)
    assert document["failed"] == json.loads(first.stdout)["failed"]
    assert document["resumed"] == document["done"]
    assert (folder / "plain.jpg").read_bytes() == good_files(drawn_image)["plain.jpg"]
