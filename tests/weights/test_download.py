"""Downloading: from a real server that misbehaves, with as few bytes as possible."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from dinoiser.errors import WeightsError
from dinoiser.weights import transfer
from dinoiser.weights.fetch import fetch
from dinoiser.weights.files import UrlFile
from tests.helpers.places import ROOT
from tests.helpers.weight_server import CONTENT, Answer, WeightServer

WRONG = CONTENT[::-1]


pytestmark = pytest.mark.usefixtures("cache")


def test_progress_grows_to_the_whole_size(file: UrlFile) -> None:
    calls: list[tuple[str, int, int]] = []
    fetch(file, progress=lambda *call: calls.append(call))
    assert {(name, total) for name, _, total in calls} == {("heads.pt", len(CONTENT))}
    done = [call[1] for call in calls]
    assert done == sorted(done)
    assert done[-1] == len(CONTENT)
    assert len(done) > 10


def test_a_sha256_is_checked_as_well_as_a_git_blob_id(server: WeightServer) -> None:
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    url = f"{server.endpoint}/a"
    good = UrlFile(url=url, filename="a", approximate_size=10**6, sha256=sha256)
    bad = UrlFile(url=url, filename="b", approximate_size=10**6, sha256="0" * 64)
    assert fetch(good).read_bytes() == CONTENT
    with pytest.raises(WeightsError, match=sha256):
        fetch(bad)


def test_a_cut_connection_is_resumed_where_it_broke(file: UrlFile, server: WeightServer) -> None:
    server.answers += [Answer(cut_after=400_000), Answer(cut_after=300_000)]
    assert fetch(file).read_bytes() == CONTENT
    assert [request.range is None for request in server.requests] == [True, False, False]
    # At most one chunk may be lost with each cut.
    assert server.bytes_sent <= len(CONTENT) + 2 * transfer.CHUNK


def test_a_later_start_goes_on_from_the_part_that_is_here(
    file: UrlFile, server: WeightServer, cache: Path
) -> None:
    cache.mkdir()
    (cache / "heads.pt.part").write_bytes(CONTENT[:750_000])
    assert fetch(file).read_bytes() == CONTENT
    assert server.requests[0].range == "bytes=750000-"
    assert server.bytes_sent == 250_000


def test_a_server_without_ranges_sends_the_whole_file_anew(
    file: UrlFile, server: WeightServer
) -> None:
    server.answers += [Answer(cut_after=400_000), Answer(ignore_range=True)]
    assert fetch(file).read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_part_that_the_server_cannot_continue_is_dropped(
    file: UrlFile, server: WeightServer, cache: Path
) -> None:
    cache.mkdir()
    (cache / "heads.pt.part").write_bytes(CONTENT + b"more")
    server.answers += [Answer(status=416)]
    assert fetch(file).read_bytes() == CONTENT
    assert server.requests[1].range is None


def test_a_wrong_part_is_found_by_the_digest_and_fetched_anew(
    file: UrlFile, server: WeightServer, cache: Path
) -> None:
    cache.mkdir()
    (cache / "heads.pt.part").write_bytes(WRONG[:500_000])
    assert fetch(file).read_bytes() == CONTENT
    assert [request.range for request in server.requests] == ["bytes=500000-", None]


def test_an_overloaded_server_is_asked_again(file: UrlFile, server: WeightServer) -> None:
    server.answers += [Answer(status=503), Answer(status=429)]
    assert fetch(file).read_bytes() == CONTENT


def test_a_file_that_is_gone_is_not_asked_for_again(file: UrlFile, server: WeightServer) -> None:
    server.answers += [Answer(status=404)]
    with pytest.raises(WeightsError, match="answered 404"):
        fetch(file)
    assert len(server.requests) == 1


def test_a_wrong_file_is_tried_once_more_and_never_kept(
    file: UrlFile, server: WeightServer, cache: Path
) -> None:
    server.answers += [Answer(content=WRONG), Answer(content=WRONG)]
    with pytest.raises(WeightsError) as caught:
        fetch(file)
    received = hashlib.sha1(b"blob 1000000\0" + WRONG).hexdigest()
    assert received in str(caught.value)
    assert str(file.git_blob) in str(caught.value)
    assert len(server.requests) == 2
    assert file.locate() is None
    assert not (cache / "heads.pt.part").exists()


def test_a_connection_that_keeps_breaking_keeps_the_part(
    file: UrlFile, server: WeightServer, cache: Path
) -> None:
    server.answers += [Answer(cut_after=100_000)] * 5
    with pytest.raises(WeightsError, match="broke the connection"):
        fetch(file)
    assert (cache / "heads.pt.part").stat().st_size > 400_000
    assert fetch(file).read_bytes() == CONTENT


def test_cancelling_keeps_the_part_for_the_next_time(
    file: UrlFile, server: WeightServer, cache: Path
) -> None:
    done = 0

    def progress(name: str, here: int, total: int) -> None:
        nonlocal done
        done = here

    with pytest.raises(WeightsError, match="was cancelled"):
        fetch(file, progress, cancelled=lambda: done > 300_000)
    part = (cache / "heads.pt.part").stat().st_size
    assert 300_000 < part < len(CONTENT)
    assert fetch(file).read_bytes() == CONTENT
    assert server.requests[-1].range == f"bytes={part}-"


def test_two_processes_share_one_download(file: UrlFile, server: WeightServer, cache: Path) -> None:
    server.answers += [Answer(seconds=1.5), Answer(seconds=1.5)]
    program = (
        "import sys; from dinoiser.weights.files import UrlFile;"
        "from dinoiser.weights.fetch import fetch;"
        "print(fetch(UrlFile.model_validate_json(sys.argv[1])))"
    )
    command = [sys.executable, "-c", program, file.model_dump_json()]
    processes = [
        subprocess.Popen(
            command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=60) for process in processes]
    assert answers == [(f"{cache / 'heads.pt'}\n", "")] * 2
    assert (cache / "heads.pt").read_bytes() == CONTENT
    assert server.bytes_sent == len(CONTENT)
