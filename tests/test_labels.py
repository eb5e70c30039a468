"""Which labels an image has."""

import numpy as np
import pytest

from dinoiser.labels import present_labels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (700, 500)])
def test_all_labels_that_there_are_are_found(dtype, shape):
    highest = np.iinfo(dtype).max
    of_rows = np.random.default_rng(0).integers(0, highest, shape[0])
    labels = np.repeat(of_rows, shape[1]).astype(dtype).reshape(shape)
    labels[-1, -1] = highest
    assert present_labels(labels).tolist() == sorted(set(labels.ravel().tolist()))
