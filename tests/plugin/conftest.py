"""What the plugin's tests need."""

import gc

import pytest


@pytest.fixture(autouse=True, scope="session")
def _quick_collections():
    """Take what has been imported so far out of the collections of garbage.

    napari's fixture collects three times for each viewer, to find windows that were left open,
    and each collection would look at all objects of torch.
    """
    import napari.qt  # noqa: F401
    import torch  # noqa: F401

    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()
