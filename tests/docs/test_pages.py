"""What the documentation says exists: files, commands, options, calls."""

from __future__ import annotations

import ast
import importlib
import re
import shlex

import pytest
import typer

from dinoiser.cli.app import app
from dinoiser.evaluation.benchmarks import find_benchmark
from dinoiser.prompts import PromptSet
from tests.docs.pages import (
    PAGES,
    ROOT,
    SITE,
    anchors,
    code_blocks,
    commands,
    inline_code,
    links,
    name_of,
)

LONGEST_LINE = 84
"""Characters of code that fit the page of the site."""

every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)
PYTHON = [
    pytest.param(block.text, id=f"{name_of(page)}-{number}")
    for page in PAGES
    for number, block in enumerate(code_blocks(page))
    if block.language == "python"
]


def find_command(words):
    """Find the (sub-)command that a command line names; give it, its name and what is left."""
    command, path, words = typer.main.get_command(app), "dinoiser", list(words)
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"{path} has no command {words[0]!r}"
        path, command = f"{path} {words[0]}", command.commands[words.pop(0)]
    return command, path, words


def options_of(command):
    return {flag for each in command.params for flag in (*each.opts, *each.secondary_opts)} | {
        "--help"
    }


def all_options(command):
    below = [all_options(each) for each in getattr(command, "commands", {}).values()]
    return options_of(command).union(*below)


@every_page
def test_links_lead_somewhere(page):
    for link in links(page):
        if re.match(r"https?:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


@every_page
def test_command_lines_parse(page):
    for line in commands(page):
        command, path, words = find_command(shlex.split(line, comments=True)[1:])
        command.make_context(path, words)  # raises on options and arguments that do not exist


@every_page
def test_commands_in_the_prose_exist(page):
    for code in inline_code(page):
        if code.startswith("dinoiser "):
            words = [word for word in shlex.split(code)[1:] if not word.isupper()]
            command, _, rest = find_command(words)
            flags = {word for word in rest if word.startswith("-")}
            assert flags <= options_of(command), code


@every_page
def test_options_in_the_prose_exist(page):
    known = all_options(typer.main.get_command(app))
    others = {"--backbone", "--heads", "--count"}  # of training.tiny
    flags = {code.split()[0] for code in inline_code(page) if code.startswith("--")}
    assert {flag.split("=")[0] for flag in flags} <= known | others


@every_page
def test_environment_variables_are_read_by_the_code(page):
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "dinoiser").rglob("*.py"))
    for name in re.findall(r"DINOISER_[A-Z_]+", page.read_text(encoding="utf-8")):
        assert f'"{name}"' in sources, name


@pytest.mark.parametrize("code", PYTHON)
def test_python_compiles_and_names_what_exists(code):
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("dinoiser"):
            module = importlib.import_module(node.module)
            for alias in node.names:
                assert hasattr(module, alias.name), f"{node.module}.{alias.name}"
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "dinoiser":
            assert hasattr(importlib.import_module("dinoiser"), node.attr), node.attr


@pytest.mark.parametrize("page", SITE, ids=name_of)
def test_code_is_no_wider_than_the_page(page):
    for block in code_blocks(page):
        for line in block.text.splitlines():
            assert len(line) <= LONGEST_LINE, line


def test_every_page_is_in_the_navigation():
    listed = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(name_of(page).removeprefix("docs/") for page in SITE)


def test_the_prompt_file_of_the_docs_can_be_loaded(tmp_path):
    (block,) = (b for b in code_blocks(ROOT / "docs/how-to/label.md") if b.language == "yaml")
    (tmp_path / "prompts.yaml").write_text(block.text, encoding="utf-8")
    prompts = PromptSet.load(tmp_path / "prompts.yaml")
    assert [c.name for c in prompts.classes] == ["background", "dog", "grass"]
    assert prompts.classes[2].id == 7


def test_published_figures_are_those_that_evaluate_shows():
    text = (ROOT / "docs/reference/models.md").read_text(encoding="utf-8")
    table = text.split("## Published figures")[1].split("\n\n")[2].split("\n")
    header, _, *rows = ([cell.strip() for cell in row.split("|")[1:-1]] for row in table)
    columns = {
        "VOC": "voc",
        "Context": "context",
        "Object": "coco-object",
        "VOC20": "voc20",
        "C59": "context59",
        "Stuff": "coco-stuff",
        "City": "cityscapes",
        "ADE": "ade20k",
    }
    assert header[1:] == list(columns)
    shown = {
        (cells[0], name): cell
        for cells in rows
        for name, cell in zip(columns.values(), cells[1:], strict=True)
        if "`" in cells[0] and cell
    }
    known = {
        (f"`{model}`" + (", with PAMR" if refine == "pamr" else ""), name): f"{100 * share:.1f}"
        for name in columns.values()
        for refine, figures in find_benchmark(name).published.items()
        for model, share in figures.items()
    }
    assert shown == known
