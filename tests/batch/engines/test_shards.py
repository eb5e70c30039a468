"""Shards: how images are divided among workers."""

import heapq
from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinoiser.batch.engines.on_cluster import SHARDS_AHEAD
from dinoiser.batch.engines.shards import next_shard


@given(
    images=st.integers(0, 3000),
    most=st.integers(1, 64),
    workers=st.integers(0, 9),
    each=st.integers(1, 6),
)
def test_every_image_is_in_one_shard(images, most, workers, each):
    left, shards = deque(range(images)), []
    while shard := next_shard(left, most, workers, workers * each):
        shards.append(shard)
    assert [image for shard in shards for image in shard] == list(range(images))
    assert all(len(shard) <= most for shard in shards)


@pytest.mark.parametrize(("images", "workers", "each"), [(40, 2, 2), (100, 20, 2), (1000, 4, 6)])
def test_workers_end_together(images, workers, each):
    """With shards of always 32 images, a hundred would keep 4 of 20 workers busy."""
    slots = workers * each
    left, waiting = deque(range(images)), deque()
    free_at, end = [0] * slots, 0
    while left or waiting:
        while len(waiting) < (SHARDS_AHEAD - 1) * slots and left:
            waiting.append(next_shard(left, 32, workers, slots))
        # the next one that is free labels a shard, one image after the other
        done = heapq.heappop(free_at) + len(waiting.popleft())
        heapq.heappush(free_at, done)
        end = max(end, done)
    assert end <= 1.1 * images / slots + 1
