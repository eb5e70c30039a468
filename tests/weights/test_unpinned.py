"""Files published without a digest: what is refused, and the digest that is kept."""

import gzip
import hashlib
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from dinoiser.errors import WeightsError
from dinoiser.weights import download
from dinoiser.weights.fetch import fetch, verify
from dinoiser.weights.files import UrlFile
from tests.helpers.weight_server import Answer, WeightServer

WEIGHTS = save({"weight": np.random.default_rng(1).normal(size=250_000).astype(np.float32)})
PAGE = b"<!doctype html><title>Guest network</title>Please accept the terms."

pytestmark = pytest.mark.usefixtures("cache")


@pytest.fixture
def unpinned(server: WeightServer) -> UrlFile:
    server.content = WEIGHTS
    return UrlFile(
        url=f"{server.endpoint}/dino.pth",
        filename="dino.pth",
        approximate_size=1_000_000,
        unpinned=True,
    )


WITHOUT_LENGTH: dict[str, str | None] = {"Content-Length": None}
REFUSED = {
    "portal page": (
        Answer(content=PAGE, headers={"Content-Type": "text/html"}),
        r"sends 67 bytes of text/html, expected about 1,000,000",
    ),
    "portal page without its length": (
        Answer(content=PAGE, headers=WITHOUT_LENGTH),
        r"has 67 bytes, expected about 1,000,000",
    ),
    "page as large as the file": (Answer(content=PAGE * 14_925), "holds no weights"),
    "damaged weights": (Answer(content=WEIGHTS[:-50_000]), "holds no weights, or they are damaged"),
    "204": (Answer(status=204), "answered 204"),
    "short body": (
        Answer(cut_after=300_000, headers=WITHOUT_LENGTH),
        r"has 300,000 bytes, expected about 1,000,000",
    ),
    "endless body": (Answer(endless=True, headers=WITHOUT_LENGTH), "sends over 1,"),
    "length of a petabyte": (
        Answer(endless=True, headers={"Content-Length": "1" + 15 * "0"}),
        "sends 1,000,000,000,000,000 bytes",
    ),
    "compressed": (
        Answer(content=gzip.compress(WEIGHTS), headers={"Content-Encoding": "gzip"}),
        r"compressed \(gzip\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_the_file_never_gets_its_name(
    unpinned: UrlFile, server: WeightServer, cache: Path, case: str
) -> None:
    answer, message = REFUSED[case]
    server.answers += [answer, answer]
    with pytest.raises(WeightsError, match=message):
        fetch(unpinned)
    assert unpinned.locate() is None
    assert not unpinned.pin_path.exists()
    assert not (cache / "dino.pth.part").exists() or not (cache / "dino.pth.part").stat().st_size
    server.answers.clear()
    assert fetch(unpinned).read_bytes() == WEIGHTS
    assert server.requests[-1].range is None


def test_an_endless_body_is_left_at_the_size_of_the_file(
    unpinned: UrlFile, server: WeightServer
) -> None:
    server.answers += [Answer(endless=True, headers=WITHOUT_LENGTH)]
    with pytest.raises(WeightsError, match="sends over"):
        fetch(unpinned)
    time.sleep(0.5)
    assert server.bytes_sent < 10_000_000  # what the sockets hold comes on top


@pytest.mark.parametrize("length", ["a lot", "-5", "1e6", "9" * 5000])
def test_an_odd_length_is_no_length(unpinned: UrlFile, server: WeightServer, length: str) -> None:
    server.answers += [Answer(headers={"Content-Length": length, "Connection": "close"})]
    assert fetch(unpinned).read_bytes() == WEIGHTS


@pytest.mark.parametrize("given", ["bytes 0-499999/1000080", "bytes 7", None])
def test_a_range_that_was_not_asked_for_starts_afresh(
    unpinned: UrlFile, server: WeightServer, cache: Path, given: str | None
) -> None:
    cache.mkdir()
    (cache / "dino.pth.part").write_bytes(WEIGHTS[:500_000])
    server.answers += [Answer(headers={"Content-Range": given})]
    assert fetch(unpinned).read_bytes() == WEIGHTS
    assert [request.range for request in server.requests] == ["bytes=500000-", None]


def test_the_start_of_another_file_is_found_and_fetched_anew(
    unpinned: UrlFile, server: WeightServer, cache: Path
) -> None:
    cache.mkdir()
    (cache / "dino.pth.part").write_bytes(PAGE)
    assert fetch(unpinned).read_bytes() == WEIGHTS
    assert [request.range for request in server.requests] == ["bytes=67-", None]


@pytest.mark.parametrize("answer", [Answer(drip=True), Answer(silent=8)], ids=["drip", "silent"])
def test_cancelling_does_not_wait_for_a_slow_server(
    unpinned: UrlFile, server: WeightServer, answer: Answer
) -> None:
    server.answers += [answer]
    began = time.monotonic()
    with pytest.raises(WeightsError, match="was cancelled"):
        fetch(unpinned, cancelled=lambda: time.monotonic() - began > 0.5)
    assert time.monotonic() - began < 6  # else 8, or without end


def test_cancelling_does_not_wait_for_the_next_try(
    unpinned: UrlFile, server: WeightServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "PAUSES", (30.0,))
    server.answers += [Answer(status=503)]
    began = time.monotonic()
    with pytest.raises(WeightsError, match="was cancelled"):
        fetch(unpinned, cancelled=lambda: time.monotonic() - began > 0.5)
    assert time.monotonic() - began < 20  # else 30


def test_the_digest_of_the_first_download_is_kept_and_verified(unpinned: UrlFile) -> None:
    path = fetch(unpinned)
    sha256 = hashlib.sha256(WEIGHTS).hexdigest()
    assert path.with_name("dino.pth.sha256").read_text() == f"{sha256}  dino.pth\n"
    (check,) = verify([unpinned])
    assert (check.status, check.detail) == ("ok", f"sha256 {sha256}")
    path.write_bytes(save({"weight": np.zeros(250_000, np.float32)}))
    (check,) = verify([unpinned])
    assert check.status == "corrupt"
    assert sha256 in check.detail
    assert fetch(unpinned).read_bytes() == WEIGHTS


def test_another_file_than_the_first_time_is_refused(
    unpinned: UrlFile, server: WeightServer
) -> None:
    fetch(unpinned).unlink()
    server.content = save({"weight": np.zeros(250_000, np.float32)})
    with pytest.raises(WeightsError, match=r"as when it was first downloaded, see .*\.sha256"):
        fetch(unpinned)
    assert unpinned.locate() is None
    unpinned.pin_path.unlink()  # the authors did replace it
    assert fetch(unpinned).read_bytes() == server.content


def test_a_file_put_there_by_hand_has_no_digest(unpinned: UrlFile, server: WeightServer) -> None:
    unpinned.place().parent.mkdir()
    unpinned.place().write_bytes(WEIGHTS)
    assert fetch(unpinned) == unpinned.place()
    assert verify([unpinned])[0].detail == "no digest to compare with"
    assert server.requests == []
