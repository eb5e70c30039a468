"""What the plugin's tests need."""

import pytest


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()
