"""MaskCLIP and CLIP-DINOiser over any open_clip ViT."""

import open_clip
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from dinoiser.errors import CheckpointError, ModelError
from dinoiser.models.clip_dinoiser import ClipDinoiser, DinoiserHeads
from dinoiser.models.maskclip import CLIP_MEAN, CLIP_STD, MaskClip, position_table
from dinoiser.models.pooling import pool_by_correlation
from dinoiser.segment.background import apply_background
from tests.helpers.series import cases


def published_way(clip, pixels):
    """Dense features by open_clip's own forward: a lone token attends to itself alone."""
    seen = {}
    blocks = clip.visual.transformer.resblocks
    hooks = [
        blocks[-1].register_forward_pre_hook(lambda _, args: seen.update(tokens=args[0])),
        blocks[-3].ln_2.register_forward_hook(lambda *args: seen.update(guide=args[2])),
    ]
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (CLIP_MEAN, CLIP_STD))
    with torch.no_grad():
        clip.visual((pixels - mean) / std)
        alone = seen["tokens"][:, 1:].flatten(0, 1)[:, None]  # (B * N, 1, C)
        dense = clip.visual.ln_post(blocks[-1](alone))[:, 0] @ clip.visual.proj
    for hook in hooks:
        hook.remove()
    return dense.unflatten(0, (len(pixels), -1)), seen["guide"][:, 1:]


@pytest.mark.parametrize(
    ("patch_size", "quick_gelu"), [(8, False), (14, True), (16, False), (16, True), (32, False)]
)
def test_dense_features_are_those_of_every_patch_attending_to_itself(
    make_clip, patch_size, quick_gelu
):
    clip = make_clip(patch_size, image_size=patch_size * 4, quick_gelu=quick_gelu).eval()
    pixels = torch.rand(2, 3, patch_size * 4, patch_size * 4)
    dense, guide = published_way(clip, pixels)
    patches = MaskClip(clip).encode_patches(pixels)
    torch.testing.assert_close(patches.features.flatten(2).mT, dense, atol=1e-5, rtol=0)
    torch.testing.assert_close(patches.guide.flatten(2).mT, guide, atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (33, 47), (64, 64), (200, 16)])
def test_any_size_gives_one_vector_a_patch(make_clip, size):
    model = ClipDinoiser(make_clip(), DinoiserHeads(32, 8))
    out = model.encode_image(torch.rand(1, 3, *size))
    grid = tuple(-(-side // 16) for side in size)
    assert out.features.shape == (1, 24, *grid)
    assert out.foreground.shape == (1, *grid)
    assert out.features.isfinite().all()


def test_what_lies_beyond_the_image_is_black(make_clip):
    model = MaskClip(make_clip())
    pixels = torch.rand(1, 3, 40, 50)
    padded = F.pad(pixels, (0, 14, 0, 8))
    torch.testing.assert_close(
        model.encode_image(pixels).features, model.encode_image(padded).features
    )


def test_position_table_of_the_trained_grid_is_left_alone():
    table = torch.randn(1 + 16, 8)
    assert position_table(table, (4, 4), (4, 4)) is table
    resized = position_table(table, (4, 4), (6, 2))
    assert resized.shape == (1 + 12, 8)
    torch.testing.assert_close(resized[0], table[0])


def test_a_grid_with_as_many_patches_as_the_table_has_rows_works(make_clip):
    """The published code skips the resize here and fails."""
    model = MaskClip(make_clip(image_size=64))  # 16 patches + class token = 17 rows
    assert model.encode_image(torch.rand(1, 3, 16, 17 * 16)).features.shape[-2:] == (1, 17)


@cases(25)
@given(
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    batch=st.integers(1, 3),
    rows_at_once=st.integers(1, 200),
    seed=st.integers(0, 1000),
)
def test_pooling_in_chunks_is_equation_1(height, width, batch, rows_at_once, seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, 5, height, width, generator=generator)
    embeddings = torch.randn(batch, 3, height, width, generator=generator)
    unit = F.normalize(embeddings.flatten(2), dim=1)
    weights = unit.mT @ unit
    weights = torch.where(weights < 0.2, 0, weights)
    expected = weights @ features.flatten(2).mT / (weights.sum(-1, keepdim=True) + 1e-6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dinoiser.models.pooling.CORRELATIONS_AT_ONCE", rows_at_once)
        pooled = pool_by_correlation(features, embeddings)
    torch.testing.assert_close(pooled.flatten(2).mT, expected, atol=1e-5, rtol=1e-5)


def test_a_correlation_of_exactly_gamma_counts():
    embeddings = torch.tensor([[[[1.0, 0.5]], [[0.0, 0.75**0.5]]]])  # cosine 0.5 in float32
    features = torch.tensor([[[[1.0, 3.0]]]])
    cosine = float(F.normalize(embeddings.flatten(2), dim=1)[0].prod(-1).sum())
    kept = pool_by_correlation(features, embeddings, gamma=cosine)
    dropped = pool_by_correlation(features, embeddings, gamma=cosine + 1e-3)
    assert kept[0, 0, 0, 0] > 1.5
    assert dropped[0, 0, 0, 0] == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("side", [32, 33, 128, pytest.param(300, marks=pytest.mark.slow)])
def test_pooling_many_alike_patches_in_float16_is_their_mean(side):
    features = torch.full((1, 2, side, side), 5.0, dtype=torch.float16)
    features[:, 1] = -0.5
    embeddings = torch.ones(1, 1, side, side, dtype=torch.float16)
    pooled = pool_by_correlation(features, embeddings)
    torch.testing.assert_close(pooled, features, atol=0, rtol=2**-10)


def test_background_filter_treats_every_image_of_a_batch_alone():
    sure, unsure = [0.001, 0.999], [0.4, 0.6]
    probabilities = torch.tensor([[sure, unsure], [unsure, sure]]).mT[..., None]  # (2, 2, 2, 1)
    foreground = torch.tensor([[[-1.0], [-1.0]], [[1.0], [-1.0]]])
    filtered = apply_background(probabilities, foreground)
    assert filtered[0, 0, 1, 0] == 1  # unsure and no object
    assert filtered[0, 0, 0, 0] == pytest.approx(0.001)  # sure
    assert filtered[1, 0, 0, 0] == pytest.approx(0.4)  # an object
    torch.testing.assert_close(filtered[:, 1], probabilities[:, 1])


class TestHeads:
    def test_official_checkpoint_and_safetensors_hold_the_same(self, tmp_path):
        heads = DinoiserHeads(32, 8)
        torch.save({"epoch": 99, "model_state_dict": heads.state_dict()}, tmp_path / "last.pt")
        heads.save(tmp_path / "heads.safetensors")
        guide = torch.rand(1, 32, 5, 6)
        for name in ("last.pt", "heads.safetensors"):
            read = DinoiserHeads.load(tmp_path / name)
            torch.testing.assert_close(read(guide), heads(guide))

    def test_official_names_of_the_weights(self):
        assert {
            name: tuple(value.shape) for name, value in DinoiserHeads(768).state_dict().items()
        } == {
            "obj_proj.weight": (256, 768, 3, 3),
            "obj_proj.bias": (256,),
            "bkg_decoder.weight": (1, 768, 1, 1),
            "bkg_decoder.bias": (1,),
        }

    def test_wrong_shapes_are_listed(self, tmp_path):
        state = DinoiserHeads(32, 8).state_dict()
        state["bkg_decoder.weight"] = torch.zeros(2, 32, 1, 1)
        del state["obj_proj.bias"]
        torch.save(state, tmp_path / "odd.pt")
        with pytest.raises(CheckpointError) as error:
            DinoiserHeads.load(tmp_path / "odd.pt")
        for part in ("odd.pt", "bkg_decoder.weight", "(2, 32, 1, 1)", "obj_proj.bias"):
            assert part in str(error.value)

    def test_another_file_is_refused(self, tmp_path):
        torch.save({"backbone.weight": torch.zeros(3)}, tmp_path / "other.pt")
        with pytest.raises(CheckpointError, match=r"obj_proj\.weight.*backbone\.weight"):
            DinoiserHeads.load(tmp_path / "other.pt")

    def test_heads_of_another_width_are_refused(self, make_clip):
        with pytest.raises(CheckpointError, match=r"768 channels.*has 32"):
            ClipDinoiser(make_clip(), DinoiserHeads(768, 8))


def test_other_towers_are_refused_with_the_cure():
    resnet = open_clip.CLIP(
        embed_dim=16,
        vision_cfg={"image_size": 64, "layers": [1, 1, 1, 1], "width": 16},
        text_cfg={"context_length": 8, "vocab_size": 100, "width": 16, "heads": 2, "layers": 1},
    )
    with pytest.raises(ModelError, match=r"ModifiedResNet.*ViT-B-16"):
        MaskClip(resnet)
