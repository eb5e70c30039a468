"""Examples in the place of words that find nothing."""

import torch

from dinoiser.learning.prototypes import replace_words


def test_examples_say_what_the_word_should_have_been():
    torch.manual_seed(0)
    words = torch.nn.functional.normalize(torch.randn(5, 32), dim=1)
    targets = torch.arange(4).repeat_interleave(30)  # none of the last class
    # patches lie elsewhere than words, but are placed as these are
    features = 3 + 0.5 * words[targets] + torch.randn(120, 32) * 0.01
    wrong = words.clone()
    wrong[[1, 4]] = torch.nn.functional.normalize(torch.randn(2, 32), dim=1)
    failing = torch.tensor([False, True, False, False, True])
    shift = replace_words(wrong, features, targets, torch.ones(120), failing)
    assert not shift[[0, 2, 3, 4]].any()
    found = wrong[1] + shift[1] / 100
    assert torch.cosine_similarity(found, words[1], dim=0) > 0.99
    assert torch.cosine_similarity(wrong[1], words[1], dim=0) < 0.5


def test_without_other_classes_nothing_is_replaced():
    words, features = torch.eye(2, 8), torch.randn(6, 8)
    targets, failing = torch.zeros(6, dtype=torch.int64), torch.tensor([True, False])
    assert not replace_words(words, features, targets, torch.ones(6), failing).any()
