"""A batch of windows that is put together again and again in the same memory."""

import torch

from dinoiser.batch.engines.staging import StagedBatch


def test_nothing_of_an_earlier_batch_is_left_whatever_its_shape():
    staged = StagedBatch(torch.device("cpu"))
    for shape, value, count in (((3, 4, 6), 9, 3), ((3, 2, 2), 5, 1), ((3, 8, 4), 7, 2)):
        windows = [torch.full(shape, value + i, dtype=torch.uint8) for i in range(count)]
        staged.fill(windows, 3)
        sent = staged.send()
        assert sent.shape == (3, *shape)
        assert sent.amax((1, 2, 3)).tolist() == [value + i for i in range(count)] + [0] * (
            3 - count
        )
        assert sent.dtype == torch.uint8
