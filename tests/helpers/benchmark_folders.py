"""Small made-up data sets, laid out as the real ones are published."""

import numpy as np
from PIL import Image
from scipy.io import savemat


def write_benchmark(name, root, images):
    """Write images (image, raw label values) into `root` in the layout of a benchmark."""
    WRITERS[name](root, images)


def write_voc(root, images):
    folder = root / "VOCdevkit" / "VOC2012"
    names = [f"2007_{i:06d}" for i in range(len(images))]
    _write_list(folder / "ImageSets/Segmentation/val.txt", names)
    for name, (image, raw) in zip(names, images, strict=True):
        _write(image, folder / "JPEGImages" / f"{name}.jpg")
        _write_palette(raw, folder / "SegmentationClass" / f"{name}.png")


def write_context(root, images):
    folder = root / "VOCdevkit" / "VOC2010"
    names = [f"2008_{i:06d}" for i in range(len(images))]
    _write_list(folder / "ImageSets/SegmentationContext/val.txt", names)
    for name, (image, raw) in zip(names, images, strict=True):
        _write(image, folder / "JPEGImages" / f"{name}.jpg")
        _write(raw, folder / "SegmentationClassContext" / f"{name}.png")


def write_official_context(root, images):
    """The labels as .mat files with all 459 classes, beside the devkit."""
    folder = root / "VOCdevkit" / "VOC2010"
    names = [f"2008_{i:06d}" for i in range(len(images))]
    _write_list(folder / "ImageSets/Main/val.txt", names)
    labels = root / "pascal-context" / "trainval"
    labels.mkdir(parents=True)
    for name, (image, raw) in zip(names, images, strict=True):
        _write(image, folder / "JPEGImages" / f"{name}.jpg")
        contents = {"LabelMap": raw.astype(np.uint16)}
        savemat(labels / f"{name}.mat", contents, do_compression=True)


def write_coco(root, images):
    for i, (image, raw) in enumerate(images):
        _write(image, root / "coco" / "images" / "val2017" / f"{i:012d}.jpg")
        _write(raw, root / "coco" / "stuffthingmaps" / "val2017" / f"{i:012d}.png")


def write_cityscapes(root, images):
    for i, (image, raw) in enumerate(images):
        city, name = ("frankfurt", "lindau")[i % 2], f"{i:06d}_000019"
        place = f"val/{city}/{city}_{name}"
        _write(image, root / f"leftImg8bit/{place}_leftImg8bit.png")
        _write(raw, root / f"gtFine/{place}_gtFine_labelIds.png")


def write_ade20k(root, images):
    folder = root / "ADEChallengeData2016"
    for i, (image, raw) in enumerate(images):
        _write(image, folder / "images/validation" / f"ADE_val_{i:08d}.jpg")
        _write(raw, folder / "annotations/validation" / f"ADE_val_{i:08d}.png")


WRITERS = {
    "voc": write_voc,
    "voc20": write_voc,
    "context": write_context,
    "context59": write_context,
    "coco-object": write_coco,
    "coco-stuff": write_coco,
    "cityscapes": write_cityscapes,
    "ade20k": write_ade20k,
}


def _write(pixels, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, quality=95)


def _write_palette(labels, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels, "L")
    image.putpalette([value for i in range(256) for value in (i, 255 - i, i // 2)])
    image.save(path)


def _write_list(path, names):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))
