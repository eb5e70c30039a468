"""Reading weights files: every honest kind is read, nothing in any is ever run."""

import pickle
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from dinoiser.errors import CheckpointError
from dinoiser.weights.checkpoint import check_shapes, load_into, read_tensors

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([1.0, 2.0])}


def assert_same(received: dict[str, torch.Tensor]) -> None:
    assert received.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        torch.testing.assert_close(received[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["weights.safetensors", "weights.pt", "weights"])
def test_safetensors_are_known_by_their_content(tmp_path: Path, name: str) -> None:
    save_file(TENSORS, tmp_path / name)
    assert_same(read_tensors(tmp_path / name))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "content",
    [TENSORS, {"epoch": 3, "model_state_dict": TENSORS}, {"state_dict": TENSORS, "lr": 0.1}],
    ids=["plain", "official", "lightning"],
)
def test_checkpoints_of_torch_are_read_and_unwrapped(
    tmp_path: Path, content: dict[str, object], zipped: bool
) -> None:
    path = tmp_path / "last.safetensors"  # the name does not matter
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert_same(read_tensors(str(path)))


class _Bomb:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("kind", ["zip", "legacy", "pickle 2", "pickle 4"])
def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path, kind: str) -> None:
    path, proof = tmp_path / "evil.pt", tmp_path / "it-ran"
    content = {"model_state_dict": TENSORS, "extra": _Bomb(proof)}
    if kind.startswith("pickle"):
        path.write_bytes(pickle.dumps({"extra": _Bomb(proof)}, protocol=int(kind[-1])))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")
    # torch names the code where the pickle does, which those of protocol 4 do not.
    expected = "not a pickle of plain tensors" if kind == "pickle 4" else "contains code"
    with pytest.raises(CheckpointError, match=expected) as caught:
        read_tensors(path)
    assert not proof.exists()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "weights_only" not in str(caught.value)
    # The bomb is live: loading without care sets it off.
    if kind.startswith("pickle"):
        pickle.loads(path.read_bytes())
    else:
        torch.load(path, weights_only=False)
    assert proof.exists()


@pytest.mark.parametrize("kind", ["safetensors", "zip", "legacy"])
@pytest.mark.parametrize("share", [0.0, 0.2, 0.6, 0.98])
def test_an_unfinished_file_is_refused(tmp_path: Path, kind: str, share: float) -> None:
    path = tmp_path / "weights"
    tensors = {"a": torch.ones(1000)}
    if kind == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "zip")
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(CheckpointError, match="unfinished") as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"<html>not found</html>", b"version https://git-lfs"])
def test_what_is_no_weights_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is not a weights file"):
        read_tensors(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(CheckpointError, match=re.escape(str(path))):
            read_tensors(path)


@pytest.mark.parametrize(
    "content", [[torch.ones(1)], {"epoch": 3}, {}, {"state_dict": 3}, {1: torch.ones(1)}]
)
def test_a_checkpoint_without_named_weights_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="does not contain weights by name"):
        read_tensors(tmp_path / "a.pt")


def test_every_difference_is_listed_with_both_shapes() -> None:
    expected = {"a.weight": torch.ones(2, 4), "a.bias": torch.ones(2), "b": torch.ones(1)}
    with pytest.raises(CheckpointError) as caught:
        check_shapes(TENSORS | {"c": torch.ones(1)}, expected, "heads.pt")
    message = str(caught.value)
    assert message.startswith("heads.pt ")
    for difference in ("b is missing", "c is unexpected", "a.weight: (2, 3) != (2, 4)"):
        assert difference in message
    assert "a.bias" not in message


def test_many_differences_are_counted_not_listed() -> None:
    expected = {f"block{i:02}": torch.ones(1) for i in range(30)}
    with pytest.raises(CheckpointError) as caught:
        check_shapes({}, expected)
    assert str(caught.value).count("is missing") == 8
    assert "and 22 more" in str(caught.value)


def test_names_to_ignore_may_be_missing_or_unexpected() -> None:
    expected = {"a.weight": torch.ones(2, 3), "mask": torch.ones(1)}
    check_shapes(TENSORS, expected, ignore=["a.bias", "mask"])
    with pytest.raises(CheckpointError, match="mask is missing"):
        check_shapes(TENSORS, expected, ignore=["a.bias"])


def test_weights_are_loaded_only_if_all_of_them_fit() -> None:
    module = torch.nn.Sequential()
    module.add_module("a", torch.nn.Linear(3, 2))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(CheckpointError, match=re.escape("a.bias: (3,) != (2,)")):
        load_into(module, {**TENSORS, "a.bias": torch.ones(3)})
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
    load_into(module, {**TENSORS, "left over": torch.ones(1)}, ignore=["left over"])
    assert_same(module.state_dict())
