"""Phrases to class embeddings."""

import numpy as np
import open_clip
import pytest
import torch
from torch.nn import functional as F

from dinoiser.models.base import SegmentationModel
from dinoiser.models.maskclip import MaskClip
from dinoiser.models.text import PhraseEmbeddings, TextTower, template_sentences

PHRASES = ["dog", "a very long phrase about a small wooden table in the garden", "rusted van"]


def test_cut_sequences_give_what_whole_ones_give_on_a_full_size_tower():
    torch.manual_seed(0)
    clip = open_clip.CLIP(**open_clip.get_model_config("ViT-B-16")).eval()
    sentences = [t.replace("{}", p) for p in PHRASES for t in template_sentences("simple")]
    with torch.no_grad():
        whole = clip.encode_text(open_clip.tokenize(sentences), normalize=True)
    torch.testing.assert_close(TextTower(clip).encode(sentences), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("custom_text", [False, True], ids=["CLIP", "CustomTextCLIP"])
def test_order_and_values_are_open_clips(make_clip, custom_text):
    clip = make_clip(custom_text=custom_text).eval()
    words = ["one", *PHRASES, "x " * 100]
    with torch.no_grad():
        expected = clip.encode_text(open_clip.tokenize(words), normalize=True)
    torch.testing.assert_close(MaskClip(clip).encode_text(words), expected, atol=1e-5, rtol=0)


def test_a_class_embedding_is_the_mean_over_templates(make_clip):
    model = MaskClip(make_clip())
    ours = PhraseEmbeddings(model).get(["dog"], ["a {}.", "the {} of {}"])
    expected = F.normalize(model.encode_text(["a dog.", "the dog of dog"]).mean(0), dim=0)
    torch.testing.assert_close(ours[0], expected)


def test_the_named_templates_are_open_clips():
    assert len(template_sentences("imagenet")) == 80
    assert template_sentences("imagenet")[0] == "a bad photo of a {}."
    assert len(template_sentences("simple")) == 7
    assert all("{}" in sentence for sentence in template_sentences("simple"))


class Counting(SegmentationModel):
    """A model that says how many sentences it was asked for."""

    name, digest, embedding_dim = "counting", "0123456789abcdef", 4
    device, dtype = torch.device("cpu"), torch.float32

    def __init__(self):
        self.sentences = 0

    def encode_text(self, texts):
        self.sentences += len(texts)
        rows = [[len(text), ord(text[0]), 1, 2] for text in texts]
        return F.normalize(torch.tensor(rows, dtype=torch.float32), dim=-1)


def test_nothing_is_computed_twice_in_a_process_or_in_the_next(tmp_path):
    first, second = Counting(), Counting()
    embeddings = PhraseEmbeddings(first, tmp_path)
    rows = embeddings.get(["dog", "cat"], ["a {}"])
    assert first.sentences == 2
    embeddings.get(["cat", "dog", "bird"], ["a {}"])
    assert first.sentences == 3
    again = PhraseEmbeddings(second, tmp_path).get(["dog", "cat"], ["a {}"])
    assert second.sentences == 0
    torch.testing.assert_close(again, rows)


def test_templates_and_weights_are_part_of_the_key(tmp_path):
    model, other = Counting(), Counting()
    other.digest = "fedcba9876543210"
    PhraseEmbeddings(model, tmp_path).get(["dog"], ["a {}"])
    PhraseEmbeddings(model, tmp_path).get(["dog"], ["the {}"])
    assert model.sentences == 2
    PhraseEmbeddings(other, tmp_path).get(["dog"], ["a {}"])
    assert other.sentences == 1


def test_a_damaged_cache_is_computed_again(tmp_path):
    rows = PhraseEmbeddings(Counting(), tmp_path).get(["dog"], ["a {}"])
    (file,) = tmp_path.rglob("*.npy")
    file.write_bytes(file.read_bytes()[:-7])
    model = Counting()
    torch.testing.assert_close(PhraseEmbeddings(model, tmp_path).get(["dog"], ["a {}"]), rows)
    assert model.sentences == 1
    np.testing.assert_allclose(np.load(file), rows[0])


def test_a_full_disk_leaves_nothing_behind_and_what_is_kept_is_still_read(tmp_path):
    """A limit on the size of files stands in for the disk: writing fails in the same place."""
    rows = PhraseEmbeddings(Counting(), tmp_path).get(["dog"], ["a {}"])
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    model = Counting()
    embeddings = PhraseEmbeddings(model, tmp_path)
    resource = pytest.importorskip("resource", reason="limits are POSIX's")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        assert embeddings.get(["cat"], ["a {}"]).shape == (1, 4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == kept
    torch.testing.assert_close(embeddings.get(["dog"], ["a {}"]), rows)
    assert model.sentences == 1


def test_a_cache_that_cannot_be_written_is_done_without(tmp_path):
    (tmp_path / "blocked").write_text("a file where the folder would be")
    embeddings = PhraseEmbeddings(Counting(), tmp_path / "blocked")
    assert embeddings.get(["dog"], ["a {}"]).shape == (1, 4)
