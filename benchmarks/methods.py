"""Cost of each method for one image, against clip-dinoiser: python -m benchmarks.methods."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from timm.models.eva import Eva
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from benchmarks.setting import describe_machine, random_model
from dinoiser.models.dino_registers import RegisterDino
from dinoiser.models.dinotxt import DinoTxt
from dinoiser.models.dinotxt_towers import DinoTextTower, VisionHead
from dinoiser.models.key_refinement import KeyRefinedClip
from dinoiser.models.maskclip import MaskClip
from dinoiser.models.naclip import NaClip
from dinoiser.models.talk2dino import Talk2Dino, TextProjection
from dinoiser.models.teacher_guided import TeacherGuidedClip
from dinoiser.models.teachers.dino import Dino
from dinoiser.models.teachers.found import Found
from dinoiser.models.tips import TipsV2
from dinoiser.models.tips_towers import TipsTextTower, TipsVisionTower
from dinoiser.segment.segmenter import Segmenter

if TYPE_CHECKING:
    from collections.abc import Callable

    from dinoiser.models.base import SegmentationModel

SIZES = {
    "B": {"embed_dim": 768, "depth": 12, "num_heads": 12},
    "L": {"embed_dim": 1024, "depth": 24, "num_heads": 16},
}
SIZE = (480, 640)
NO_CLASSES = {"num_classes": 0, "dynamic_img_size": True}


def vit(size: str, patch: int, registers: int, side: int, **more: Any) -> VisionTransformer:
    """Make a ViT with a position table."""
    if registers:
        more |= {"reg_tokens": registers, "no_embed_class": True, "init_values": 1e-5}
    return VisionTransformer(patch_size=patch, img_size=side, **SIZES[size], **NO_CLASSES, **more)


def dino2(size: str) -> RegisterDino:
    """Make a DINOv2."""
    return RegisterDino(vit(size, 14, 4, 518))


def dino3(size: str) -> RegisterDino:
    """Make a DINOv3."""
    rotary = {"rope_type": "dinov3", "rope_temperature": 100.0, "rope_rotate_half": True}
    positions = {"use_rot_pos_emb": True, "use_abs_pos_emb": False}
    tokens = {"num_reg_tokens": 4, "init_values": 1e-5, "use_fc_norm": False}
    return RegisterDino(
        Eva(patch_size=16, **rotary, **positions, **tokens, **SIZES[size], **NO_CLASSES)
    )


def talk2dino(dino: RegisterDino) -> Talk2Dino:
    """Make a Talk2DINO."""
    return Talk2Dino(random_model().clip, dino, TextProjection(512, dino.width))


def dinotxt(dino: RegisterDino) -> DinoTxt:
    """Make a dino.txt, whose text tower is small: it does not see images."""
    text = DinoTextTower(64, 1, 64, 1, 8, 77, 2 * dino.width)
    return DinoTxt(dino, VisionHead(dino.width, 2, 2752, 16), text)


def tips(size: str) -> TipsV2:
    """Make a TIPS v2, whose text tower has one block."""
    vision = TipsVisionTower(vit(size, 14, 1, 448))
    text = TipsTextTower(vision.width, 1, 64, 1, 8)
    return TipsV2(vision, text, lambda texts: [[1]] * len(texts))


def guided() -> TeacherGuidedClip:
    """Make CLIP with DINO and FOUND."""
    small = {"embed_dim": 384, "depth": 12, "num_heads": 6}
    found = Dino(VisionTransformer(patch_size=8, **small, **NO_CLASSES))
    teacher = Found(found, nn.Conv2d(384, 1, 1))
    return TeacherGuidedClip(random_model().clip, Dino(vit("B", 16, 0, 224)), teacher)


def on_clip(kind: Callable[[Any], MaskClip]) -> MaskClip:
    """Make a method over CLIP's ViT-B/16 alone."""
    return kind(random_model().clip)


METHODS: dict[str, Callable[[], SegmentationModel]] = {
    "clip-dinoiser": random_model,
    "maskclip": partial(on_clip, MaskClip),
    "clip-keys-refined": partial(on_clip, KeyRefinedClip),
    "clip-dino-guided": guided,
    "naclip": partial(on_clip, NaClip),
    "talk2dino-vitb": lambda: talk2dino(dino2("B")),
    "talk2dino-dinov3-vitb": lambda: talk2dino(dino3("B")),
    "talk2dino-vitl": lambda: talk2dino(dino2("L")),
    "talk2dino-dinov3-vitl": lambda: talk2dino(dino3("L")),
    "dinotxt-vitl14": lambda: dinotxt(dino2("L")),
    "dinotxt-dinov3-vitl16": lambda: dinotxt(dino3("L")),
    "tipsv2-b": lambda: tips("B"),
    "tipsv2-l": lambda: tips("L"),
}


def processor_seconds(work: Callable[[], object]) -> float:
    """Processor time of a call, which other programs on the machine change little."""
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Print the time to encode the windows of a 640x480 image, per method."""
    torch.set_num_threads(1)
    describe_machine()
    baseline = 0.0
    for name, make in METHODS.items():
        model = make()
        layout = Segmenter(model).pipeline.plan(SIZE)
        window = torch.rand(1, 3, *layout.window_size)
        model.encode_image(window[..., :112, :112])  # so that nothing is made for the first time
        encode = len(layout.windows) * processor_seconds(partial(model.encode_image, window))
        baseline = baseline or encode
        print(f"{name}: {len(layout.windows)} windows, {encode:.2f} s, ", end="")
        print(f"{encode / baseline:.2f} times clip-dinoiser", flush=True)


if __name__ == "__main__":
    main()
