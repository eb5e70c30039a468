"""Fits from several seeds, and heads that read another block or are of another size."""

import json
import statistics

import pytest
import torch
from dinoiser_training.heads_file import write_heads
from dinoiser_training.images import Crops
from dinoiser_training.refit import RefitJob
from dinoiser_training.seeds import jobs_of_seeds, spread
from dinoiser_training.settings import FitSettings
from dinoiser_training.teachers import DinoTeacher
from PIL import Image
from safetensors import safe_open

from dinoiser.errors import CheckpointError, ModelError
from dinoiser.models.clip_dinoiser import ClipDinoiser, DinoiserHeads
from dinoiser.models.load import load_model
from dinoiser.models.maskclip import MaskClip
from dinoiser.models.teachers.dino import Dino
from dinoiser.scenes import draw_scenes

QUICK = (
    *("-m", "tiny", "-d", "cpu", "--precision", "fp32", "--batch-size", 2, "--crop", 64),
    *("--steps", 2, "--json"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for i, scene in enumerate(draw_scenes(20, 31, (72, 96))):
        Image.fromarray(scene.image).save(folder / f"{i}.png")
    return folder


class TestSeeds:
    def test_finished_fits_are_left_alone(self, tmp_path):
        job = RefitJob(("photos",), tmp_path / "mine.safetensors", settings=FitSettings(seed=4))
        jobs = jobs_of_seeds(job, 3)
        assert [one.output.name for one in jobs] == [f"mine-{n}.safetensors" for n in (4, 5, 6)]
        assert [one.settings.seed for one in jobs] == [4, 5, 6]
        finished, unfinished, _ = jobs
        for one in (finished, unfinished):
            one.folder.mkdir()
        finished.output.touch()
        (finished.folder / "agreement.json").touch()
        (unfinished.folder / "checkpoint.safetensors").touch()
        left = jobs_of_seeds(job, 3, resume=True)
        assert [(one.settings.seed, one.resume) for one in left] == [(5, True), (6, False)]

    def test_figures_are_summed_up(self, tmp_path):
        folders = [tmp_path / "a", tmp_path / "b"]
        for folder, pairs in zip(folders, (0.2, 0.4), strict=True):
            folder.mkdir()
            new = {"pairs": pairs, "objects": None}
            (folder / "agreement.json").write_text(json.dumps({"new": new}))
        assert spread(folders) == {"pairs": pytest.approx((0.3, 0.2 / 2**0.5))}

    @pytest.mark.slow
    def test_each_writes_heads_and_all_are_summed_up(self, folder, tmp_path, dinoiser):
        arguments = ("train", folder, "-o", tmp_path / "mine.safetensors", *QUICK)
        arguments += ("--seeds", 2, "--seed", 4)
        code, out, err = dinoiser(*arguments)
        assert code in (0, 1), err  # whether they are better is another question
        document = json.loads(out)
        heads = [tmp_path / f"mine-{seed}.safetensors" for seed in (4, 5)]
        assert [one["heads"] for one in document["seeds"]] == [str(path) for path in heads]
        one, other = (DinoiserHeads.load(path).obj_proj.weight for path in heads)
        assert not torch.equal(one, other)
        for name in ("pairs", "objects"):
            values = [fit["agreement"]["new"][name] for fit in document["seeds"]]
            assert document["agreement"][name] == {
                "mean": pytest.approx(statistics.mean(values)),
                "deviation": pytest.approx(statistics.stdev(values)),
            }
        before = [path.stat().st_mtime_ns for path in heads]
        again = json.loads(dinoiser(*arguments, "--resume")[1])
        assert again == {"seeds": [], "agreement": document["agreement"]}
        assert [path.stat().st_mtime_ns for path in heads] == before

    def test_none_is_refused(self, folder, dinoiser):
        code, _, err = dinoiser("train", folder, *QUICK, "--seeds", 0)
        assert code == 2
        assert "--seeds is 0, expected at least 1." in err


class TestGuide:
    @pytest.mark.parametrize("block", [-6, -3, -2, -1, "final"])
    def test_it_is_the_same_with_and_without_the_rest_of_the_tower(self, tiny, block):
        model = MaskClip(tiny.clip)
        model.read_guide_at(block)
        pixels = torch.rand(1, 3, 64, 72)
        patches = model.encode_patches(pixels)
        torch.testing.assert_close(model.encode_guide(pixels), patches.guide)
        assert patches.guide.shape[1] == model.guide_width
        assert torch.equal(patches.features, MaskClip(tiny.clip).encode_patches(pixels).features)
        assert (block == "final") == (patches.guide is patches.features)

    def test_it_is_the_input_of_the_blocks_mlp(self, tiny):
        model = MaskClip(tiny.clip)
        model.read_guide_at(-1)
        seen = []
        last = tiny.visual.transformer.resblocks[-1]
        handle = last.mlp.register_forward_hook(lambda _mlp, given, _out: seen.append(given[0]))
        pixels = torch.rand(1, 3, 64, 72)
        x, _ = model._embed(pixels)
        with torch.no_grad():
            for block in tiny.visual.transformer.resblocks:
                x = block(x)
        handle.remove()
        guide = model.encode_guide(pixels).flatten(2).mT
        torch.testing.assert_close(guide, seen[0][:, 1:], atol=1e-5, rtol=1e-5)

    def test_a_block_that_is_not_there_is_refused(self, tiny):
        count = len(tiny.visual.transformer.resblocks)
        for block in (0, -count - 1):
            with pytest.raises(ModelError, match=f"{block}, but the vision tower has {count} b"):
                MaskClip(tiny.clip).read_guide_at(block)


@pytest.mark.slow
def test_heads_say_which_block_they_read_and_are_as_large_as_asked(folder, tmp_path, dinoiser):
    path, config = tmp_path / "mine.safetensors", tmp_path / "given.yaml"
    config.write_text("kernel_size: 5\nprojection_dim: 32\n")
    arguments = ("train", folder, "-o", path, *QUICK, "--config", config)
    code, out, err = dinoiser(*arguments, "--guide-block", "final")
    assert code in (0, 1), err
    # the shipped heads read another block, so they are not compared
    assert set(json.loads(out)["agreement"]) == {"new", "untrained"}
    with safe_open(path, "pt") as file:
        assert file.metadata()["guide_block"] == "final"
    assert "guide_block: final" in path.with_suffix(".yaml").read_text()
    model = load_model("tiny", "cpu", "fp32", heads=path)
    heads = DinoiserHeads.load(path)
    assert heads.obj_proj.weight.shape == (32, model.embedding_dim, 5, 5)
    by_hand = ClipDinoiser(model.clip, heads, model.gamma, "final")
    pixels = torch.rand(1, 3, 64, 72)
    ours, theirs = model.encode_image(pixels), by_hand.encode_image(pixels)
    assert torch.equal(ours.features, theirs.features)
    assert torch.equal(ours.foreground, theirs.foreground)


def test_heads_of_an_odd_block_are_refused(tiny, tmp_path):
    path = tmp_path / "odd.safetensors"
    write_heads(tiny.heads, path, {"guide_block": "middle"})
    with pytest.raises(CheckpointError, match="guide block 'middle', expected a number below 0"):
        load_model("tiny", "cpu", heads=path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kernel_size: 4", "kernel_size is 4, expected an odd number"),
        ("kernel_size: 5\nwhiten: true", "kernel_size is 5, expected 3 where whiten is true"),
        ("guide_block: 2", "guide_block is 2, expected one below 0, or final"),
    ],
)
def test_what_cannot_be_fitted_is_said(text, message, folder, tmp_path, dinoiser):
    (tmp_path / "given.yaml").write_text(text)
    code, _, err = dinoiser("train", folder, *QUICK, "--config", tmp_path / "given.yaml")
    assert code == 2
    assert message in " ".join(err.split())


@pytest.mark.parametrize("part", ["values", "keys", "queries"])
def test_teachers_compare_what_is_asked(part):
    from timm.models.vision_transformer import VisionTransformer

    torch.manual_seed(4)
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2, "patch_size": 8, "img_size": 64}
    dino = Dino(VisionTransformer(**sizes, num_classes=0))

    class NoObjects:
        def patch_probabilities(self, pixels, grid):
            return torch.zeros(len(pixels), *grid)

    batch = Crops(torch.rand(2, 3, 64, 64), None)
    targets = DinoTeacher(dino, NoObjects(), part=part).targets(batch, (8, 8))
    assert torch.equal(targets.features, getattr(dino, part)(batch.pixels))
