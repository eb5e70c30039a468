"""CLIP from the Hugging Face hub: open_clip's own download against a hub on this machine."""

import hashlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dinoiser.errors import WeightsError
from dinoiser.models.catalog import find_model
from dinoiser.weights.fetch import fetch, verify
from dinoiser.weights.files import HubFile
from tests.helpers.weight_server import COMMIT, Answer, WeightServer, serving

NAMES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
CONTENT = bytes(range(256)) * 100_000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DINOISER_CACHE", str(tmp_path))
    monkeypatch.delenv("DINOISER_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[WeightServer]:
    with serving(CONTENT) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        yield running


@pytest.fixture
def file() -> HubFile:
    return HubFile(repo="laion/clip", filenames=NAMES, approximate_size=len(CONTENT))


def put_into_hub_cache(cache: Path, content: bytes, name: str = NAMES[0], blob: str = "") -> Path:
    """Lay a file down as the hub's client does: content by digest, a link by name."""
    folder = cache / "models--laion--clip"
    blob_path = folder / "blobs" / (blob or hashlib.sha256(content).hexdigest())
    link = folder / "snapshots" / COMMIT / name
    for path in (blob_path, link, folder / "refs" / "main"):
        path.parent.mkdir(parents=True, exist_ok=True)
    blob_path.write_bytes(content)
    link.symlink_to(Path("../../blobs") / blob_path.name)
    (folder / "refs" / "main").write_text(COMMIT)
    return link


def statuses(file: HubFile) -> list[str]:
    entry = find_model("maskclip").model_copy(update={"clip": file})
    return [check.status for check in verify(entry.files)]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_in_the_hubs_cache_is_found_and_verified(
    file: HubFile, cache: Path, name: str
) -> None:
    assert file.locate() is None
    assert statuses(file) == ["missing"]
    link = put_into_hub_cache(cache, CONTENT, name)
    assert file.locate() == fetch(file) == link
    assert statuses(file) == ["ok"]


def test_a_damaged_file_in_the_hubs_cache_is_found(file: HubFile, cache: Path) -> None:
    put_into_hub_cache(cache, b"damaged", blob=SHA256)
    assert statuses(file) == ["corrupt"]


def test_a_blob_that_is_kept_in_a_shared_store_is_verified_by_its_own_name(
    file: HubFile, cache: Path
) -> None:
    link = put_into_hub_cache(cache, CONTENT)
    shared = cache / "store" / ("f" * 64)
    shared.parent.mkdir()
    link.resolve().rename(shared)
    (link.parent / link.readlink()).symlink_to(shared)
    assert statuses(file) == ["ok"]


def test_a_file_put_there_by_hand_is_taken_without_a_digest(file: HubFile) -> None:
    file.place().parent.mkdir()
    file.place().write_bytes(CONTENT)
    assert file.locate() == fetch(file) == file.place()
    assert statuses(file) == ["ok"]


def test_offline_names_the_file_its_place_and_the_way_to_go_on(
    file: HubFile, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DINOISER_OFFLINE", "1")
    with pytest.raises(WeightsError, match="-m tiny") as caught:
        fetch(file)
    assert "laion/clip/open_clip_model.safetensors" in str(caught.value)
    assert f"put it at {cache / 'laion--clip' / NAMES[0]} " in str(caught.value)


def test_a_download_from_the_hub_stops_when_asked(file: HubFile, hub: WeightServer) -> None:
    with pytest.raises(WeightsError, match="was cancelled"):
        fetch(file, cancelled=lambda: True)
    assert [request for request in hub.requests if "resolve" in request.path] == []


def test_an_unreachable_hub_is_named_with_the_way_to_go_on(
    file: HubFile, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(WeightsError, match="-m tiny") as caught:
        fetch(file)
    assert f"{endpoint} cannot be reached" in str(caught.value)
    assert f"put it at {cache / 'laion--clip' / NAMES[0]} " in str(caught.value)


@pytest.mark.slow
def test_a_damaged_file_of_the_hub_is_fetched_anew_through_open_clip(
    file: HubFile, hub: WeightServer, cache: Path
) -> None:
    put_into_hub_cache(cache, b"damaged", blob=SHA256)
    hub.answers += [Answer(cut_after=15_000_000), Answer(seconds=1.0)]
    calls: list[tuple[str, int, int]] = []
    path = fetch(file, lambda *call: calls.append(call))
    assert path.read_bytes() == CONTENT
    assert path.resolve().name == SHA256
    assert statuses(file) == ["ok"]
    done = [call[1] for call in calls]
    assert len(done) > 1
    assert done == sorted(done)
    assert {(name, total) for name, _, total in calls} == {(file.name, len(CONTENT))}
    ranges = [request.range for request in hub.requests if request.sent]
    assert len(ranges) == 2
    assert ranges[0] is None
    assert ranges[1] is not None


@pytest.mark.slow
def test_damage_is_found_where_the_hubs_client_can_make_no_links(
    file: HubFile, hub: WeightServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows, whose code pages lack letters of paths, too."""
    monkeypatch.setenv("DINOISER_CACHE", str(cache / "кэш"))
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    monkeypatch.setenv("HF_HUB_DISABLE_SYMLINKS", "1")
    path = fetch(file)
    assert not path.is_symlink()
    assert path.read_bytes() == CONTENT
    assert statuses(file) == ["ok"]
    assert file.expected_digest(path) == ("sha256", SHA256)
    path.write_bytes(b"damaged")
    assert statuses(file) == ["corrupt"]
    assert fetch(file).read_bytes() == CONTENT


@pytest.mark.slow
def test_a_file_that_the_hub_does_not_have_is_named(hub: WeightServer) -> None:
    absent = HubFile(repo="laion/absent", filenames=NAMES, approximate_size=1)
    with pytest.raises(WeightsError) as caught:
        fetch(absent)
    message = str(caught.value)
    assert "laion/absent" in message
    assert "404" in message
    assert "\n" not in message
