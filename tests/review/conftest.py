"""A job of three images to review."""

import pytest

from napari_dinoiser.review.review_session import ReviewSession
from tests.export_jobs import make_job, scene


@pytest.fixture
def job(tmp_path):
    names = ("a.png", "sub/b.png", "sub/c.d.png")
    return make_job(tmp_path, {name: scene(seed) for seed, name in enumerate(names)})


@pytest.fixture
def session(job):
    session = ReviewSession(job)
    session.arrange("file name")
    return session
