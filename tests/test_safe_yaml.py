"""YAML made to exhaust memory or time."""

import time

import pytest
import yaml

from dinoiser.errors import PromptError, SettingsError
from dinoiser.prompts import PromptSet
from dinoiser.safe_yaml import load_values, read_mapping

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)
)
HOSTILE = {
    "alias bomb": BOMB,
    "self-reference": "&a [*a]",
    "reference to a key's own mapping": "a: &a {b: *a}",
    "merged bomb": BOMB + "all: {<<: [*a11, *a11]}\n",
    "deep lists": "[" * 100_000,
    "deep mappings": "{a: " * 100_000,
    "deep blocks": "- " * 100_000 + "a",
    "deep keys": "? " * 100_000 + "a",
    "a number of many digits": "a: " + "9" * 500_000,
    "a hexadecimal number of many digits": "a: 0x" + "f" * 500_000,
    "a sexagesimal number of many digits": "a: 1" + ":59" * 200_000,
    "a fraction of many digits": "a: 1." + "9" * 500_000,
    "a tag": "a: !!python/object/apply:os.system [ls]",
    "a month 13": "2026-13-01",
    "a list as a key": "? [a]\n: b",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_values_are_refused_within_a_second(kind):
    start = time.process_time()
    with pytest.raises(ValueError, match=r"\w"):
        load_values(HOSTILE[kind])
    assert time.process_time() - start < 1


@pytest.mark.parametrize("kind", ["alias bomb", "self-reference", "deep lists", "deep mappings"])
def test_hostile_prompt_files_are_refused_within_a_second(kind):
    start = time.process_time()
    with pytest.raises(PromptError, match=r"must be in quotation marks|nesting is too deep"):
        PromptSet.from_yaml(HOSTILE[kind])
    assert time.process_time() - start < 1


def test_a_file_of_settings_that_is_not_there_is_said(tmp_path):
    with pytest.raises(SettingsError, match=r"none\.yaml cannot be read \(No such file or dir"):
        read_mapping(tmp_path / "none.yaml")


def test_plain_values_are_read_as_yaml_has_them():
    values = {"a": [1, 2.5, None, True, "no", "1:30"], "b": {"c": [[[]]], "d": 2**63, "é": -1e-5}}
    text = yaml.safe_dump(values, allow_unicode=True)
    assert load_values(text) == values
