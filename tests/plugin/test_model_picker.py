"""The model picker, downloading from a real server on this machine."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import yaml
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import QComboBox, QFileDialog, QLabel, QProgressBar, QPushButton
from safetensors.torch import save_file

from dinoiser.errors import ModelError, UnknownModelError
from dinoiser.models import catalog
from dinoiser.models.catalog import find_model, list_models
from dinoiser.models.clip_dinoiser import DinoiserHeads
from dinoiser.weights.fetch import fetch
from dinoiser.weights.files import HubFile, UrlFile
from napari_dinoiser.model_picker import ModelPicker
from tests.helpers.small_open_clip import publish_small_clip
from tests.helpers.weight_server import Answer, WeightServer

SLOW = Answer(seconds=20)


@pytest.fixture
def served(file: UrlFile, cache: Path, monkeypatch: pytest.MonkeyPatch) -> UrlFile:
    """The catalogue, but CLIP and the official heads are one file of the server here."""
    entries = {}
    for name in [model.name for model in list_models()]:
        entry = find_model(name)
        parts = [part for part in ("clip", "heads") if part_is_downloaded(entry, part)]
        entries[name] = entry.model_copy(update=dict.fromkeys(parts, file))
    monkeypatch.setattr(catalog, "_entries", lambda: entries)
    return file


def part_is_downloaded(entry: catalog.ModelEntry, part: str) -> bool:
    return isinstance(getattr(entry, part), UrlFile | HubFile)


@pytest.fixture
def errors(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sentences that napari would show."""
    from napari.utils import notifications

    shown: list[str] = []
    monkeypatch.setattr(notifications, "show_error", shown.append)
    return shown


@pytest.fixture
def picker(served: UrlFile, qtbot) -> ModelPicker:
    return open_picker(qtbot)


def open_picker(qtbot) -> ModelPicker:
    widget = ModelPicker()
    qtbot.addWidget(widget)
    widget.show()
    return widget


def button(picker: ModelPicker, name: str) -> QPushButton:
    return picker.findChild(QPushButton, name)


def info(picker: ModelPicker) -> str:
    return picker.findChild(QLabel, "model_info").text()


def is_idle() -> bool:
    return QThreadPool.globalInstance().activeThreadCount() == 0


def test_the_models_of_the_catalogue_can_be_chosen(picker: ModelPicker) -> None:
    combo = picker.findChild(QComboBox, "model_picker")
    shown = [combo.itemText(index) for index in range(combo.count())]
    assert shown == [model.name for model in list_models()]


def test_at_first_a_model_is_chosen_that_works_at_once(served: UrlFile, qtbot) -> None:
    assert open_picker(qtbot).model_name() == "tiny"
    fetch(served)
    assert open_picker(qtbot).model_name() == "clip-dinoiser"


def test_the_line_says_licence_size_and_place(picker: ModelPicker) -> None:
    assert info(picker) == "Apache-2.0 · 3 MB · on this machine"
    assert not button(picker, "download").isVisible()
    picker.set_model_name("maskclip")
    assert info(picker) == "MIT · 1 MB · not downloaded yet"
    assert button(picker, "download").isVisible()


def test_choosing_a_model_is_told(picker: ModelPicker, qtbot) -> None:
    with qtbot.waitSignal(picker.model_changed):
        picker.set_model_name("maskclip")
    assert picker.model_name() == "maskclip"
    with pytest.raises(UnknownModelError, match="did you mean 'maskclip'"):
        picker.set_model_name("maskclp")


def test_a_download_brings_the_model_here(
    picker: ModelPicker, served: UrlFile, server: WeightServer, qtbot
) -> None:
    server.answers.append(Answer(seconds=1))
    picker.set_model_name("clip-dinoiser")
    button(picker, "download").click()
    bar = picker.findChild(QProgressBar, "download_progress")
    assert bar.isVisible()
    assert button(picker, "cancel_download").isVisible()
    assert not button(picker, "download").isVisible()
    qtbot.waitUntil(lambda: 0 < bar.value() < 100)
    qtbot.waitUntil(lambda: "on this machine" in info(picker))
    assert find_model("clip-dinoiser").clip.locate() == served.place()
    for child in (bar, button(picker, "cancel_download"), button(picker, "download")):
        assert not child.isVisible()


def test_a_cancelled_download_stops_and_can_be_taken_up_again(
    picker: ModelPicker, server: WeightServer, qtbot, errors: list[str]
) -> None:
    server.answers.append(SLOW)
    picker.set_model_name("maskclip")
    button(picker, "download").click()
    qtbot.waitUntil(lambda: picker.findChild(QProgressBar, "download_progress").value() > 0)
    button(picker, "cancel_download").click()
    qtbot.waitUntil(lambda: button(picker, "download").isVisible())
    assert "not downloaded yet" in info(picker)
    assert errors == []
    button(picker, "download").click()
    qtbot.waitUntil(lambda: "on this machine" in info(picker))
    assert server.requests[-1].range is not None


def test_what_goes_wrong_is_said_in_a_sentence(
    picker: ModelPicker, server: WeightServer, qtbot, errors: list[str]
) -> None:
    server.answers.append(Answer(404))
    picker.set_model_name("maskclip")
    button(picker, "download").click()
    qtbot.waitUntil(lambda: errors != [])
    assert "heads.pt" in errors[0]
    assert "the server answered 404" in errors[0]
    qtbot.waitUntil(lambda: button(picker, "download").isVisible())


def test_offline_a_download_says_so(
    picker: ModelPicker, qtbot, errors: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DINOISER_OFFLINE", "1")
    picker.set_model_name("maskclip")
    button(picker, "download").click()
    qtbot.waitUntil(lambda: errors != [])
    assert "DINOISER_OFFLINE is set" in errors[0]
    qtbot.waitUntil(lambda: button(picker, "download").isVisible())


def test_heads_of_ones_own_are_used_until_they_are_dropped(
    picker: ModelPicker, tmp_path: Path, qtbot, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.safetensors"
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    with qtbot.waitSignal(picker.model_changed):
        button(picker, "heads").click()
    assert picker.heads() == path
    assert picker.findChild(QLabel, "heads_file").text() == "with mine.safetensors"
    picker.set_model_name("clip-keys-refined")  # has no place for heads
    assert picker.heads() is None
    assert not button(picker, "heads").isVisible()
    picker.set_model_name("tiny")
    with qtbot.waitSignal(picker.model_changed):
        button(picker, "drop_heads").click()
    assert picker.heads() is None
    assert not button(picker, "drop_heads").isVisible()


def test_heads_for_a_clip_of_open_clip_bring_it_along(
    tmp_path: Path, qtbot, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _ = publish_small_clip(tmp_path, monkeypatch)
    path = tmp_path / "mine.safetensors"
    save_file(DinoiserHeads(64, 8).state_dict(), path, {"model": name})
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    picker = open_picker(qtbot)
    button(picker, "heads").click()
    assert (picker.model_name(), picker.heads()) == (name, path)
    assert "on this machine" in info(picker)
    picker.set_model_name("tiny")
    picker.set_model_name(name)
    combo = picker.findChild(QComboBox, "model_picker")
    assert [combo.itemText(i) for i in range(combo.count())].count(name) == 1
    with pytest.raises(ModelError, match="a ResNet, not a ViT"):
        picker.set_model_name("open_clip:RN50:openai")
    assert picker.model_name() == name


def test_a_viewer_closed_during_a_download_leaves_no_thread(
    served: UrlFile, server: WeightServer, make_napari_viewer, qtbot
) -> None:
    server.answers.append(SLOW)
    viewer = make_napari_viewer()
    picker = ModelPicker()
    viewer.window.add_dock_widget(picker)
    picker.set_model_name("maskclip")
    button(picker, "download").click()
    qtbot.waitUntil(lambda: picker.findChild(QProgressBar, "download_progress").value() > 0)
    viewer.close()
    qtbot.waitUntil(is_idle)
    assert not served.place().exists()


def test_napari_quits_during_a_download_without_an_error(
    served: UrlFile, server: WeightServer, tmp_path: Path
) -> None:
    server.answers.append(SLOW)
    models = [find_model(model.name).model_dump(exclude_none=True) for model in list_models()]
    path = tmp_path / "catalog.yaml"
    path.write_text(yaml.safe_dump({"models": models}), encoding="utf-8")
    program = f"""
        from pathlib import Path
        import napari
        from qtpy.QtCore import QTimer
        from dinoiser.models import catalog
        catalog.CATALOG_PATH = Path({str(path)!r})
        from napari_dinoiser.model_picker import ModelPicker
        viewer = napari.Viewer()
        picker = ModelPicker()
        viewer.window.add_dock_widget(picker)
        picker.set_model_name("maskclip")
        picker._download_button.click()
        timer = QTimer()
        timer.timeout.connect(lambda: picker._bar.value() > 0 and (timer.stop(), viewer.close()))
        timer.start(50)
        napari.run()
        print("over")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.strip()) == (0, "over"), done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("module", "widget"), [("model_picker", "ModelPicker"), ("prompts.table", "PromptTable")]
)
def test_the_widgets_bring_no_torch(module: str, widget: str) -> None:
    program = f"""
        import sys
        from napari_dinoiser.{module} import {widget}
        from qtpy.QtWidgets import QApplication
        application = QApplication([])
        widget = {widget}()
        print([name for name in ("torch", "open_clip") if name in sys.modules])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
