"""What a person sees who asks the command line for help."""

import shlex
import subprocess
import sys
from importlib.metadata import version

import pytest
import typer.main

import dinoiser as package
from dinoiser.cli.app import app
from dinoiser.export import ExportOptions
from tests.helpers import places

ROOT = typer.main.get_command(app)


def all_commands(command, *names):
    """The words of every command and group, such as ("models", "list")."""
    yield names
    for name, child in getattr(command, "commands", {}).items():
        yield from all_commands(child, *names, name)


every_command = pytest.mark.parametrize("names", list(all_commands(ROOT)), ids=" ".join)


@pytest.fixture
def help_of(dinoiser, monkeypatch):
    """The help of a command on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def show(names, flag="--help"):
        code, out, err = dinoiser(*names, flag)
        assert (code, err) == (0, "")
        return out

    return show


def test_the_version_is_that_of_the_installed_package(dinoiser):
    assert package.__version__ == version("napari-dinoiser")
    assert "__version__" in dir(package)
    assert dinoiser("--version") == (0, f"dinoiser {package.__version__}\n", "")


@every_command
def test_h_is_help_everywhere(names, help_of):
    assert help_of(names, "-h") == help_of(names)


@every_command
def test_help_fits_the_terminal_and_no_sentence_is_cut_short(names, help_of):
    usage, *lines = help_of(names).splitlines()
    assert usage.startswith("Usage: dinoiser")
    for line in lines:
        assert len(line) <= 80
        assert not line.endswith("...")


@every_command
def test_help_ends_with_an_example_that_the_command_line_takes(names, help_of):
    heading, _, line = help_of(names).rstrip().splitlines()[-3:]
    assert heading.strip() == "Example:"
    program, *words = shlex.split(line.partition(" > ")[0])
    assert program == "dinoiser"
    assert tuple(words[: len(names)]) == names
    command = ROOT
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context(program, words)  # reads all arguments, and raises where one is wrong


def test_help_lists_every_command(help_of):
    shown = help_of(())
    for name in ROOT.commands:
        assert f"\n  {name} " in shown


def test_the_module_is_the_command(dinoiser):
    asked = [sys.executable, "-m", "dinoiser", "--version"]
    said = subprocess.run(asked, capture_output=True, text=True, check=True)
    assert (0, said.stdout, said.stderr) == dinoiser("--version")


@pytest.mark.parametrize("names", [("label",), ("export",)])
def test_the_default_of_split_is_the_librarys(names, help_of):
    told = " ".join(help_of(names).split())
    assert f"(connected parts) to 1. Default: {ExportOptions().split:g}." in told
    formats = (places.ROOT / "docs/reference/formats.md").read_text(encoding="utf-8")
    assert f"the default is {ExportOptions().split:g}." in formats
