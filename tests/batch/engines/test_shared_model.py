"""Batches that several threads fill: when they run, and who waits for them."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from dinoiser.batch.engines import shared_model
from dinoiser.batch.engines.shared_model import BatchedModel
from dinoiser.models.base import PatchFeatures
from dinoiser.segment.passes import Passes

SIZE = 4


class Tower:
    """Notes how many windows that are not black each batch has."""

    device = torch.device("cpu")

    def __init__(self):
        self.fills = []

    def encode_image(self, pixels):
        self.fills.append(int(pixels.amax((1, 2, 3)).count_nonzero()))
        return PatchFeatures(pixels.mean((2, 3), keepdim=True), None)


def encode(shared, value):
    """The value of all pixels of a window, as it comes back."""
    window = torch.full((3, 8, 8), value, dtype=torch.uint8)
    return round(255 * shared.encode([window]).features.mean().item())


@pytest.fixture
def patient(monkeypatch):
    monkeypatch.setattr(shared_model, "PATIENCE", 60)


def bring(shared, values, begun=None):
    """Bring windows one after the other, as a thread that labels one image after the other.

    With a barrier, it waits for others: the first to begin would be alone.
    """
    with shared.producing():
        if begun is not None:
            begun.wait(60)
        return [encode(shared, value) for value in values]


@pytest.fixture
def at_work():
    """Begin an image in another thread; return what ends it, with a window or without."""
    ends = []

    def begin(shared, pool, value=None):
        begun, end = threading.Event(), threading.Event()
        ends.append(end)

        def decode():
            with shared.producing():
                begun.set()
                end.wait(60)
                return value and encode(shared, value)

        answer = pool.submit(decode)
        begun.wait()
        return end, answer

    yield begin
    for end in ends:
        end.set()


def test_a_batch_waits_for_whoever_is_at_work_and_no_longer(patient, at_work):
    tower = Tower()
    with BatchedModel(tower, Passes(SIZE)) as shared, ThreadPoolExecutor(2) as pool:
        end, second = at_work(shared, pool, 2)
        first = pool.submit(bring, shared, [1])
        time.sleep(0.2)
        assert tower.fills == []  # two windows can share a batch, so the first one waits
        end.set()
        assert (first.result(30), second.result(30)) == ([1], 2)
    assert tower.fills == [2]


def test_a_batch_runs_once_the_last_other_thread_has_finished(patient, at_work):
    with BatchedModel(Tower(), Passes(SIZE)) as shared, ThreadPoolExecutor(2) as pool:
        end, _ = at_work(shared, pool)
        waiting = pool.submit(bring, shared, [1])
        end.set()
        assert waiting.result(30) == [1]


def test_an_image_that_no_thread_is_left_for_holds_up_no_batch(patient):
    tower = Tower()
    with BatchedModel(tower, Passes(SIZE), threads=1) as shared, shared.producing():
        assert bring(shared, [1]) == [1]  # of the second image announced, no window can come
    assert tower.fills == [1]


def test_a_slow_image_does_not_hold_up_the_others(monkeypatch, at_work):
    monkeypatch.setattr(shared_model, "PATIENCE", 0.1)
    with BatchedModel(Tower(), Passes(SIZE)) as shared, ThreadPoolExecutor(2) as pool:
        end, _ = at_work(shared, pool)
        assert pool.submit(bring, shared, [1]).result(30) == [1]
        end.set()


def test_with_more_threads_than_windows_in_a_batch_all_but_the_last_are_full(patient):
    tower, threads, each = Tower(), 3 * SIZE, 20
    begun = threading.Barrier(threads)
    with BatchedModel(tower, Passes(SIZE)) as shared, ThreadPoolExecutor(threads) as pool:
        values = [range(1 + i * each, 1 + (i + 1) * each) for i in range(threads)]
        found = list(pool.map(lambda some: bring(shared, some, begun), values))
    assert found == [list(some) for some in values]
    assert sum(tower.fills) == threads * each
    assert len(tower.fills) < 1.3 * threads * each / SIZE


class PartlyRead(PatchFeatures):
    """What comes back from a device that is lost while it is read."""

    def part(self, some):
        if some.start:
            raise RuntimeError("device lost")
        return super().part(some)


def test_an_error_while_answers_are_read_reaches_all_who_wait(patient):
    class Lost(Tower):
        def encode_image(self, pixels):
            return PartlyRead(super().encode_image(pixels).features, None)

    with BatchedModel(Lost(), Passes(SIZE)) as shared, ThreadPoolExecutor(SIZE) as pool:
        begun = threading.Barrier(3)
        for _ in range(2):  # the threads of the model are there for the next batch, too
            answers = [pool.submit(bring, shared, [value], begun) for value in (1, 2, 3)]
            errors = [answer.exception(30) for answer in answers]
            assert [str(error) for error in errors] == ["device lost"] * 3


def test_where_no_batch_can_be_made_nobody_waits_for_one(patient, at_work):
    class NoPlan(Passes):
        def windows(self, model, size):
            if threading.current_thread().daemon:  # the model's own threads
                raise RuntimeError("no plan")
            return SIZE

    with BatchedModel(Tower(), NoPlan()) as shared, ThreadPoolExecutor(1) as pool:
        for _ in range(2):
            answer = pool.submit(bring, shared, [1])
            assert str(answer.exception(30)) == "no plan"
