"""A job of three images to review without a window."""

import pytest

from napari_dinoiser.review.review_session import ReviewSession
from tests.helpers.export_jobs import make_job_of_three


@pytest.fixture
def job(tmp_path):
    return make_job_of_three(tmp_path)


@pytest.fixture
def session(job):
    session = ReviewSession(job)
    session.arrange("file name")
    return session
