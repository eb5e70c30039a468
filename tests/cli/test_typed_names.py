"""What is wrong is named as it was typed."""

import pytest

from dinoiser.cli.typed_names import as_typed


@pytest.mark.parametrize(
    ("sentence", "arguments", "expected"),
    [
        ("short_side is 0.", ["--short-side", "0"], "--short-side is 0."),
        ("stride is 9; whole is 3.", ["--stride=9"], "--stride is 9; whole is 3."),
        ("stride is 'x'.", ["a", "--stride", "x"], "--stride is 'x'."),
        ("a.yaml: ignore_below is 3.", ["--prompts", "a.yaml"], "a.yaml: ignore_below is 3."),
        ("The model is large.", ["--model", "tiny"], "The model is large."),
        ("--masks is 'x'.", ["--masks", "x"], "--masks is 'x'."),
        ("my_min_area is 3.", ["--min-area", "3"], "my_min_area is 3."),
        ("steps is 0.", ["--", "-p", "---"], "steps is 0."),
    ],
)
def test_options_are_named_as_typed(sentence, arguments, expected):
    assert as_typed(sentence, arguments) == expected


@pytest.mark.parametrize("scheduler", ["sync", "tcp://127.0.0.1:1"])
def test_workers_without_a_local_cluster_are_refused(scheduler, dinoiser, tmp_path):
    arguments = ("--workers", "3", "--scheduler", scheduler, "-m", "tiny", "-p", "dog, cat")
    code, _, err = dinoiser("label", tmp_path, "-o", tmp_path / "out", *arguments)
    assert code == 2
    assert (
        f"--workers is 3, which only a local cluster has, and --scheduler is {scheduler!r}" in err
    )
    assert not (tmp_path / "out").exists()
