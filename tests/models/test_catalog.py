"""The catalogue: what people see of it, and that it agrees with open_clip and the package."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

import dinoiser
from dinoiser.errors import UnknownModelError
from dinoiser.models.catalog import ModelEntry, find_model, list_models
from dinoiser.models.open_clip_files import architecture_config
from dinoiser.weights.digests import file_digest
from dinoiser.weights.files import HubFile, PackageFile, UrlFile

NAMES = [
    "clip-dinoiser",
    "maskclip",
    "clip-dino-guided",
    "clip-keys-refined",
    "naclip",
    "talk2dino-vitb",
    "talk2dino-vitl",
    "talk2dino-dinov3-vitb",
    "talk2dino-dinov3-vitl",
    "dinotxt-vitl14",
    "dinotxt-dinov3-vitl16",
    "tipsv2-b",
    "tipsv2-l",
    "tiny",
    "maskclip-tiny",
]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DINOISER_CACHE", str(tmp_path))


def test_the_models_are_listed_with_the_default_first() -> None:
    assert [model.name for model in list_models()] == NAMES
    assert dinoiser.list_models() == list_models()


def test_every_model_says_whose_it_is() -> None:
    for name in NAMES:
        entry = find_model(name)
        assert re.search(r"Apache-2\.0|MIT|DINOv3 License", entry.licence)
        assert entry.citation
        assert entry.source
        assert entry.description


def test_sizes_are_what_a_download_takes_or_what_lies_on_disk() -> None:
    sizes = {model.name: model.size for model in list_models()}
    assert 500e6 < sizes["maskclip"] < sizes["clip-dinoiser"] < 700e6
    tiny = find_model("maskclip-tiny")
    assert sizes["maskclip-tiny"] == sum(file.place().stat().st_size for file in tiny.files)


def test_a_model_counts_as_cached_only_with_all_its_files() -> None:
    def cached() -> dict[str, bool]:
        return {model.name: model.cached for model in list_models()}

    assert {name for name, here in cached().items() if here} == {"tiny", "maskclip-tiny"}
    clip, heads = find_model("clip-dinoiser").files
    clip.place().parent.mkdir(parents=True)
    clip.place().touch()
    assert cached()["maskclip"]
    assert not cached()["clip-dinoiser"]
    heads.place().touch()
    assert cached()["clip-dinoiser"]


def test_listing_models_brings_no_torch_along() -> None:
    program = (
        "import sys, dinoiser; dinoiser.list_models();"
        "print([name for name in ('torch', 'open_clip', 'requests') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert answer.stdout.strip() == "[]", answer.stderr


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("clip-dinoser", "clip-dinoiser"), ("Tiny", "tiny"), ("mask_clip", "maskclip")],
)
def test_a_misspelt_name_is_answered_with_the_nearest_and_all_others(
    wrong: str, meant: str
) -> None:
    with pytest.raises(UnknownModelError) as caught:
        find_model(wrong)
    message = str(caught.value)
    assert f"did you mean {meant!r}" in message
    assert repr(wrong) in message
    assert all(name in message for name in NAMES)


def test_a_name_like_no_other_gets_no_guess() -> None:
    with pytest.raises(UnknownModelError, match=r"named 'xyz': choose one of clip-dinoiser"):
        find_model("xyz")


def test_the_windows_are_those_of_the_paper_and_smaller_for_the_tiny_model() -> None:
    def windows(name: str) -> tuple[int, int, int]:
        found = find_model(name).windows
        return found.short_side, found.window, found.stride

    assert windows("clip-dinoiser") == windows("maskclip") == (448, 448, 224)
    assert windows("tiny") == windows("maskclip-tiny") == (224, 224, 112)


def test_the_official_heads_are_pinned_to_their_commit() -> None:
    heads = find_model("clip-dinoiser").heads
    assert isinstance(heads, UrlFile)
    assert "a954aae6fb61f5ff18834e50a0c78a2258cd9afb/checkpoints/last.pt" in heads.url
    assert str(heads.digest) == "git blob 0b6c94d9c439ebac7bcb07fe805be3654ea03c7f"


def test_models_without_heads_share_the_clip_of_those_with_heads() -> None:
    assert find_model("maskclip").clip == find_model("clip-dinoiser").clip
    assert find_model("maskclip-tiny").clip == find_model("tiny").clip
    assert find_model("maskclip").heads is find_model("maskclip-tiny").heads is None


@pytest.mark.parametrize("name", ["tiny", "maskclip-tiny"])
def test_the_embedded_files_are_there_and_are_those_of_the_catalogue(name: str) -> None:
    files = find_model(name).files
    assert files
    for file in files:
        assert isinstance(file, PackageFile)
        assert file_digest(file.place(), "sha256").value == file.sha256, file.name


def test_the_embedded_architecture_is_described_for_open_clip() -> None:
    config = find_model("tiny").read_config()
    assert config is not None
    assert {"embed_dim", "vision_cfg", "text_cfg"} <= config.keys()
    assert find_model("clip-dinoiser").read_config() is None


def test_the_hub_files_are_those_that_open_clip_would_fetch() -> None:
    from open_clip import get_pretrained_cfg
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    entry = find_model("clip-dinoiser")
    assert isinstance(entry.clip, HubFile)
    configuration = get_pretrained_cfg(entry.architecture, entry.pretrained)
    assert configuration["hf_hub"] == f"{entry.clip.repo}/"
    assert entry.clip.filenames == (HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME)


def test_the_activation_is_the_one_that_open_clip_knows_the_weights_by() -> None:
    from open_clip import get_pretrained_cfg

    for entry in (find_model(name) for name in NAMES):
        if entry.pretrained:
            known = get_pretrained_cfg(entry.architecture, entry.pretrained)
            assert entry.quick_gelu == known.get("quick_gelu", False), entry.name


def test_entries_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        find_model("tiny").name = "other"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"heads": None}, "needs heads"),
        ({"licens": "MIT"}, "licens"),
        (
            {"heads": {"url": "https://example.org/a", "filename": "a", "approximate_size": 1}},
            "digest",
        ),
    ],
)
def test_a_wrong_entry_of_the_catalogue_is_refused(change: dict[str, object], message: str) -> None:
    entry = find_model("tiny").model_dump()
    with pytest.raises(ValidationError, match=message):
        ModelEntry.model_validate(entry | change)


@pytest.mark.parametrize("name", [model.name for model in list_models()])
def test_patches_are_as_large_as_the_catalogue_says(name: str) -> None:
    entry = find_model(name)
    if "dino" in entry.parts and entry.method != "clip-dino-guided":
        # the file of a DINO says it: dinov2_vitb14 ...
        assert f"_vit{name[name.index('vit') + 3]}{entry.patch_size}_" in str(entry.parts["dino"])
    elif "towers" in entry.parts:  # tipsv2-b14
        assert f"{name}{entry.patch_size}/" in entry.parts["towers"].source
    elif entry.config is None:
        config = architecture_config(str(entry.architecture))
        assert config["vision_cfg"]["patch_size"] == entry.patch_size
    else:
        assert dinoiser.load_model(name, device="cpu").patch_size == entry.patch_size


@pytest.mark.parametrize("given", [Path("tiny"), None, 3])
def test_what_is_no_name_is_no_model(given):
    with pytest.raises(UnknownModelError, match="expected a name such as"):
        find_model(given)
