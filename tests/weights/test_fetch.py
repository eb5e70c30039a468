"""Fetching weights: from a real server that misbehaves, into real folders."""

import hashlib
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dinoiser.errors import WeightsError
from dinoiser.models.catalog import find_model
from dinoiser.weights import download
from dinoiser.weights.digests import digest
from dinoiser.weights.fetch import fetch, is_offline, verify
from dinoiser.weights.files import UrlFile, cache_dir
from tests.helpers.weight_server import CONTENT, WeightServer, weights_at

WRONG = CONTENT[::-1]


pytestmark = pytest.mark.usefixtures("cache")


def test_a_file_is_fetched_into_the_cache_and_nothing_else_is_left(
    file: UrlFile, cache: Path
) -> None:
    path = fetch(file)
    assert path == file.locate() == cache / "heads.pt"
    assert path.read_bytes() == CONTENT
    left = {entry.name for entry in cache.iterdir()}
    assert left <= {"heads.pt", "heads.pt.verified", "heads.pt.lock"}


def test_a_cached_file_is_not_asked_for_again(file: UrlFile, server: WeightServer) -> None:
    fetch(file)
    fetch(file)
    assert len(server.requests) == 1


def test_a_file_damaged_in_the_cache_is_fetched_anew(file: UrlFile, server: WeightServer) -> None:
    fetch(file).write_bytes(WRONG)
    assert fetch(file).read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_file_put_there_by_hand_is_taken(file: UrlFile, server: WeightServer) -> None:
    file.place().parent.mkdir()
    file.place().write_bytes(CONTENT)
    assert fetch(file) == file.place()
    assert server.requests == []


def assert_helps(error: pytest.ExceptionInfo[WeightsError], name: str, place: Path) -> None:
    """One sentence with the file, its place and the way to go on."""
    message = str(error.value)
    assert name in message
    assert f"put it at {place} " in message
    assert "-m tiny" in message
    assert "\n" not in message
    assert ". " not in message.rstrip(".")


def test_offline_says_what_is_missing_where_to_put_it_and_how_to_go_on(
    file: UrlFile, server: WeightServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DINOISER_OFFLINE", "1")
    with pytest.raises(WeightsError, match="DINOISER_OFFLINE is set") as caught:
        fetch(file)
    assert_helps(caught, "heads.pt", cache / "heads.pt")
    assert server.requests == []


def test_an_unreachable_server_says_the_same(cache: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(WeightsError, match="cannot be reached") as caught:
        fetch(weights_at(f"http://127.0.0.1:{port}"))
    assert_helps(caught, "heads.pt", cache / "heads.pt")


def test_offline_a_cached_file_is_used(file: UrlFile, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fetch(file)
    monkeypatch.setenv("DINOISER_OFFLINE", "1")
    assert fetch(file) == path


def test_offline_a_damaged_file_is_not_used(file: UrlFile, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch(file).write_bytes(WRONG)
    monkeypatch.setenv("DINOISER_OFFLINE", "1")
    with pytest.raises(WeightsError, match="is damaged"):
        fetch(file)


@pytest.mark.parametrize(
    ("value", "offline"), [("1", True), ("true", True), ("0", False), ("no", False), ("", False)]
)
def test_offline_is_what_a_person_means_by_it(
    value: str, offline: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DINOISER_OFFLINE", value)
    assert is_offline() is offline


def test_without_dinoiser_cache_the_users_own_cache_folder_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DINOISER_CACHE")
    assert "napari-dinoiser" in cache_dir().parts
    monkeypatch.setenv("DINOISER_CACHE", "~/weights")
    assert cache_dir() == Path.home() / "weights"


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder with the weights that this process really cannot write to.

    Root may write anywhere, so the test runs as another user then.
    """
    if not hasattr(os, "geteuid"):
        pytest.skip("needs file modes")
    folder = Path(tempfile.mkdtemp())
    monkeypatch.setenv("DINOISER_CACHE", str(folder))
    (folder / "heads.pt").write_bytes(CONTENT)
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        with pytest.raises(PermissionError):
            (folder / "probe").touch()
        yield folder
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_read_only_cache_that_has_the_file_is_enough(file: UrlFile, read_only: Path) -> None:
    assert fetch(file) == read_only / "heads.pt"
    assert [entry.name for entry in read_only.iterdir()] == ["heads.pt"]


def test_a_read_only_cache_without_the_file_names_the_variable(
    file: UrlFile, server: WeightServer, read_only: Path
) -> None:
    other = file.model_copy(update={"filename": "other.pt"})
    with pytest.raises(WeightsError, match=r"other\.pt .*Permission denied.*DINOISER_CACHE"):
        fetch(other)
    assert server.requests == []


def test_a_cache_path_that_cannot_be_a_folder_names_the_variable(
    file: UrlFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken").touch()
    monkeypatch.setenv("DINOISER_CACHE", str(tmp_path / "taken" / "cache"))
    with pytest.raises(WeightsError, match=r"heads\.pt .*DINOISER_CACHE"):
        fetch(file)


def test_verify_tells_missing_corrupt_and_good_files_apart(
    file: UrlFile, server: WeightServer
) -> None:
    entry = find_model("tiny").model_copy(update={"heads": file})
    clip, heads, _ = verify(entry.files)
    assert (clip.status, heads.status) == ("ok", "missing")
    assert heads.path == file.place()
    fetch(file)
    assert verify(entry.files)[1].status == "ok"
    # Same size and time of change: only verify reads the file, a start does not.
    status = file.place().stat()
    file.place().write_bytes(WRONG)
    os.utime(file.place(), ns=(status.st_atime_ns, status.st_mtime_ns))
    assert fetch(file) == file.place()
    damaged = verify(entry.files)[1]
    assert damaged.status == "corrupt"
    assert str(file.git_blob) in damaged.detail


def test_the_digest_of_a_file_follows_its_content(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert digest(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    path.write_bytes(CONTENT)
    assert digest(str(path)) == hashlib.sha256(CONTENT).hexdigest()


def test_a_git_blob_id_is_what_git_says(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"test content\n")
    # Pro Git, chapter 10.2
    value = "d670460b4b4aece5915caf5c68d12f560a9fe3e4"
    assert download.file_digest(path, "git blob") == ("git blob", value)
