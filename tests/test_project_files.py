"""What a public project has beside its code: citation, source archive, links, workflows."""

import re
import subprocess
import sys
import tarfile
from importlib.metadata import metadata
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

import dinoiser

ROOT = Path(__file__).parent.parent


PYTHONS = [
    line.rpartition(" ")[2]
    for line in metadata("napari-dinoiser").get_all("Classifier")
    if line.startswith("Programming Language :: Python :: 3.")
]


def read_yaml(path):
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def test_the_citation_is_of_this_version_and_names_the_paper():
    citation = read_yaml("CITATION.cff")
    assert citation["version"] == dinoiser.__version__
    [paper] = citation["references"]
    assert paper["title"].startswith("CLIP-DINOiser: Teaching CLIP a few DINO tricks")
    names = [author["family-names"] for author in paper["authors"]]
    assert (names[0], names[-1], len(names)) == ("Wysoczańska", "Pérez", 6)


def test_the_package_index_links_to_the_repository():
    links = dict(line.split(", ") for line in metadata("napari-dinoiser").get_all("Project-URL"))
    assert set(links) >= {"Documentation", "Source Code", "Bug Tracker", "User Support"}
    source = links["Source Code"]
    assert all(link.startswith(source) for link in links.values())
    assert read_yaml("CITATION.cff")["repository-code"] == source


def test_the_source_archive_holds_what_a_contributor_needs(tmp_path):
    build = [sys.executable, "-m", "uv", "--quiet", "build", "--sdist", "--out-dir", tmp_path, ROOT]
    subprocess.run(build, check=True)
    [archive] = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    files = ("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile", "NOTICE")
    assert names >= {*files, "README.md", "mkdocs.yml", "napari.yaml", "pyproject.toml"}
    for folder in (".ci", "benchmarks", "docs", "examples", "tests", "training"):
        assert any(name.startswith(f"{folder}/") for name in names)
    assert not any(name.startswith(".ci/typing") for name in names)  # training once more


def test_every_python_that_the_package_takes_is_tested_on_every_system():
    matrix = read_yaml(".github/workflows/test.yml")["jobs"]["test"]["strategy"]["matrix"]
    assert matrix["python"] == PYTHONS
    taken = SpecifierSet(metadata("napari-dinoiser")["Requires-Python"])
    assert [minor for minor in range(30) if f"3.{minor}" in taken] == [
        int(version.removeprefix("3.")) for version in PYTHONS
    ]
    assert matrix["platform"] == ["ubuntu-latest", "macos-latest", "windows-latest"]


@pytest.mark.parametrize(
    "page", ["README.md", "docs/get-started/install.md", "CONTRIBUTING.md", ".ci/python-venv"]
)
def test_pages_name_the_pythons_that_the_package_takes(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert re.search(rf"needs? Python {PYTHONS[0]} to {PYTHONS[-1]}\b", text)


@pytest.mark.parametrize("form", ["bug_report.yml", "feature_request.yml"])
def test_issue_forms_ask_for_something(form):
    questions = read_yaml(f".github/ISSUE_TEMPLATE/{form}")["body"]
    required = [q["id"] for q in questions if q.get("validations", {}).get("required")]
    assert len(required) >= 2
