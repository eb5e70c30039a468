"""The Folder tab: the same job as `dinoiser label`, run from a window."""

import shlex
import threading
from dataclasses import replace
from itertools import count
from types import SimpleNamespace

import pytest
from napari.utils.notifications import notification_manager
from PIL import Image
from qtpy.QtCore import QThreadPool
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPlainTextEdit,
    QPushButton,
)

from dinoiser.batch import Progress, Record, read_records
from dinoiser.batch.engines import labeller
from dinoiser.batch.engines.label_images import ImageLabeller
from dinoiser.batch.reviews import Reviews, read_labelled, read_reviews
from dinoiser.prompts import PromptSet
from dinoiser.segment.settings import SegmentSettings
from napari_dinoiser.folder.command_line import save_prompt_file, to_command
from napari_dinoiser.folder.job import RunStatus, describe_failures, run_job
from napari_dinoiser.folder.widget import FolderWidget
from napari_dinoiser.model_choice import ModelChoice
from tests.helpers.band_jobs import NODATA, draw_twice
from tests.helpers.drawn_images import draw_images
from tests.helpers.dropping import drop
from tests.helpers.job_driver import job_of
from tests.helpers.segment_driver import add_class

LONG = 120_000
OWN_IDS = """
version: 1
classes:
  - {name: background, background: true}
  - {name: red circle, id: 9, color: "#112233"}
  - {name: square, id: 4, phrases: [blue square, "a square, blue"]}
"""


@pytest.fixture
def images(tmp_path):
    """A folder of three images, its name one that shells would take apart."""
    return draw_images(tmp_path / "my images; 'x'", 3)


@pytest.fixture
def open_tab(make_napari_viewer, qtbot):
    """Open the tab in a viewer's dock; what the Segment tab would say can be given."""

    def open_(**chosen):
        viewer = make_napari_viewer(show=True)
        prompts = PromptSet.parse("background, red circle; red disc, blue square")
        settings = chosen.get("settings", SegmentSettings())
        choice = ModelChoice(chosen.get("model", "tiny"), device="cpu", settings=settings)
        tab = FolderWidget(viewer, lambda: (chosen.get("prompts", prompts), choice))
        viewer.window.add_dock_widget(tab)
        return tab

    notification_manager.records.clear()
    return open_


def fill(tab, images, output, scheduler="sync"):
    tab.findChild(QLineEdit, "input_folder").setText(str(images))
    tab.findChild(QLineEdit, "output_folder").setText(str(output))
    tab.scheduler.setCurrentText(scheduler)


def click(tab, name):
    tab.findChild(QPushButton, name).click()


def text(tab, name):
    return tab.findChild(QLabel, name).text()


def wait_until_through(tab, qtbot):
    run = tab.findChild(QPushButton, "run_folder")
    qtbot.waitUntil(run.isEnabled, timeout=LONG)


def notes():
    return [record.message for record in notification_manager.records]


def files(folder):
    """Everything that a job leaves but what tells of the time that it took."""
    names = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {
        str(name): path.read_bytes()
        for name, path in names.items()
        if name.parts[0] not in ("records", "report.html")
    }


def test_a_job_with_bands_goes_on_with_them(open_tab, qtbot, tmp_path, dinoiser):
    _, banded, _ = draw_twice(tmp_path / "images", 2)
    tab = open_tab()
    fill(tab, banded, tmp_path / "out")
    command = shlex.split(tab.findChild(QPlainTextEdit, "command_line").toPlainText())
    assert "--bands" not in command
    command += ["--bands", "4,3,2", "--nodata", str(NODATA), "--limit", "1", "-d", "cpu"]
    assert dinoiser(*command[1:])[0] == 0
    tab.refresh()
    shown = tab.findChild(QPlainTextEdit, "command_line").toPlainText()
    assert "--bands 4,3,2" in shown
    assert "--nodata 9" in shown
    click(tab, "run_folder")
    wait_until_through(tab, qtbot)
    assert notes() == []
    records = list(read_records(tmp_path / "out"))
    assert [record.status for record in records] == ["done", "done"]
    tab.overwrite.setChecked(True)  # other words begin anew with the bands that the images need
    assert "--bands 4,3,2" in tab.findChild(QPlainTextEdit, "command_line").toPlainText()


@pytest.mark.parametrize(
    ("prompts", "more"),
    [
        (PromptSet.parse("background, red circle; red disc, it's blue=blue square"), {}),
        (
            PromptSet.parse("red circle", ignore_below=0.35),
            {"formats": ("png", "coco", "panoptic")},
        ),
        (PromptSet.from_yaml(OWN_IDS), {"settings": SegmentSettings(whole=True)}),
        (
            PromptSet.parse("background, red circle", templates="simple"),
            {"settings": SegmentSettings(short_side=96, refine="none", antialias=False)},
        ),
        (PromptSet.parse("red circle"), {"keep_features": True}),
    ],
    ids=["words", "threshold and formats", "own ids", "templates and settings", "features"],
)
def test_the_command_line_does_what_the_tab_does(prompts, more, images, tmp_path, dinoiser):
    here = job_of((images,), tmp_path / "here", prompts, scheduler="sync", **more)
    assert run_job(here).done == 3
    there = replace(here, output=tmp_path / "there")
    save_prompt_file(there)
    program, *arguments = shlex.split(to_command(there))
    assert program == "dinoiser"
    code, _, errors = dinoiser(*arguments)
    assert code == 0, errors
    assert files(tmp_path / "there") == files(tmp_path / "here")


def test_a_folder_is_labelled_and_offered_for_review(open_tab, images, tmp_path, qtbot, dinoiser):
    (images / "broken.png").write_bytes(b"no image")
    tab = open_tab()
    fill(tab, images, tmp_path / "out")
    tab.formats.boxes["coco"].click()
    click(tab, "run_folder")
    wait_until_through(tab, qtbot)
    outcome = text(tab, "folder_outcome")
    assert outcome.startswith("3 of 4 images labelled; 1 failed.\nbroken.png: ")
    assert (tmp_path / "out" / "annotations.json").is_file()
    assert tab.findChild(QPushButton, "open_report").isVisible()
    with qtbot.waitSignal(tab.review_requested) as asked:
        click(tab, "review_folder")
    assert asked.args == [str(tmp_path / "out")]
    command = tab.findChild(QPlainTextEdit, "command_line").toPlainText()
    code, out, _ = dinoiser(*shlex.split(command)[1:], "--json")
    assert code == 1
    assert '"resumed": 3' in out


def test_other_words_for_the_same_folder_need_a_new_start(open_tab, images, tmp_path, qtbot):
    out = tmp_path / "out"
    words = {"prompts": PromptSet.parse("red circle")}
    tab = open_tab(**words)
    fill(tab, images, out)
    click(tab, "run_folder")
    wait_until_through(tab, qtbot)
    tab = open_tab(prompts=PromptSet.parse("blue square, grass"))
    fill(tab, images, out)
    click(tab, "run_folder")
    wait_until_through(tab, qtbot)
    assert "other settings" in text(tab, "folder_outcome")
    assert f"`dinoiser relabel {out}`" in text(tab, "folder_outcome")
    anew = tab.findChild(QCheckBox, "overwrite")
    anew.setChecked(True)
    assert tab.findChild(QPlainTextEdit, "command_line").toPlainText().endswith("--overwrite")
    click(tab, "run_folder")
    wait_until_through(tab, qtbot)
    assert text(tab, "folder_outcome") == "3 of 3 images labelled."
    assert not anew.isChecked()
    assert PromptSet.load(out / "prompts.yaml").names == ("blue square", "grass")


def accept_first(out):
    Reviews(out, PromptSet.load(out / "prompts.yaml")).save(read_labelled(out)[0], "accepted")


def edit_first(out):
    """Change one pixel of a mask with another program."""
    with Image.open(out / "masks" / "000.png") as mask:
        mask.putpixel((0, 0), 1 - mask.getpixel((0, 0)))
        mask.save(out / "masks" / "000.png")


@pytest.mark.parametrize("work", [accept_first, edit_first])
@pytest.mark.parametrize("agreed", [False, True])
def test_starting_over_asks_before_the_work_of_people_is_deleted(
    open_tab, images, tmp_path, qtbot, monkeypatch, agreed, work
):
    out, tab, asked = tmp_path / "out", open_tab(), []
    fill(tab, images, out)
    click(tab, "run_folder")
    wait_until_through(tab, qtbot)
    work(out)
    before = (out / "masks" / "000.png").read_bytes()
    buttons = QMessageBox.StandardButton
    answer = buttons.Yes if agreed else buttons.No
    monkeypatch.setattr(QMessageBox, "question", lambda *words: asked.append(words[2]) or answer)
    tab.findChild(QCheckBox, "overwrite").setChecked(True)
    click(tab, "run_folder")
    wait_until_through(tab, qtbot)
    [question] = asked
    assert "holds the reviews of 1 image" in question
    assert bool(read_reviews(out)) is (work is accept_first and not agreed)
    if not agreed:
        assert (out / "masks" / "000.png").read_bytes() == before


def test_without_an_output_folder_results_go_beside_the_images(open_tab, images, qtbot):
    tab = open_tab()
    fill(tab, images, "")
    click(tab, "run_folder")
    wait_until_through(tab, qtbot)
    assert (images.parent / f"{images.name}-labels" / "masks" / "000.png").is_file()


def test_a_folder_can_be_dropped(open_tab, images):
    tab = open_tab()
    line = tab.findChild(QLineEdit, "input_folder")
    drop(line, images)
    assert line.text() == str(images)
    assert text(tab, "folder_missing") == ""


def test_copying_brings_the_prompt_file_that_the_command_reads(open_tab, images, tmp_path):
    prompts = PromptSet.from_yaml(OWN_IDS)
    tab = open_tab(prompts=prompts)
    fill(tab, images, tmp_path / "out")
    click(tab, "copy_command")
    words = shlex.split(QApplication.clipboard().text())
    assert PromptSet.load(words[words.index("--prompts") + 1]) == prompts
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_there_is_named_before_the_run(open_tab, images, tmp_path):
    tab = open_tab()
    fill(tab, tmp_path / "nowhere", tmp_path / "out")
    assert (
        text(tab, "folder_missing") == f"There is no folder {tmp_path / 'nowhere'}; choose another."
    )
    assert not tab.findChild(QPushButton, "run_folder").isEnabled()
    fill(tab, images, tmp_path / "out")
    assert text(tab, "folder_missing") == ""


def test_other_words_for_the_same_folder_name_the_box_to_check(
    open_tab, images, tmp_path, monkeypatch, qtbot
):
    first = open_tab()
    fill(first, images, tmp_path / "out")
    click(first, "run_folder")
    wait_until_through(first, qtbot)
    tab = open_tab(prompts=PromptSet.parse("background, star"))
    fill(tab, images, tmp_path / "out")
    click(tab, "run_folder")
    wait_until_through(tab, qtbot)
    assert text(tab, "folder_outcome").endswith(
        "or “Start anew” (under “Formats, scheduler and command”) to start over."
    )
    assert "--overwrite" not in "".join(notes())
    box = tab.findChild(QCheckBox, "overwrite")
    assert box.text() == "Start anew"
    assert not tab.outcome.isHidden()
    box.setChecked(True)  # what was said is of what was chosen before
    assert tab.outcome.isHidden()


def test_notes_name_the_window_or_the_whole_command(open_tab, images, tmp_path, qtbot):
    tab = open_tab()
    fill(tab, images, tmp_path / "out")
    click(tab, "run_folder")
    wait_until_through(tab, qtbot)
    next(images.iterdir()).unlink()
    click(tab, "run_folder")
    wait_until_through(tab, qtbot)
    assert "(`dinoiser label --prune` removes what they left)" in text(tab, "folder_outcome")
    reason = "use a smaller --short-side, and windows instead of --whole"
    summary = SimpleNamespace(failures={"a.png": reason}, not_exported={})
    assert describe_failures(summary) == (
        "a.png: use a smaller “Short side”, and windows instead of “as a whole”"
    )


def test_an_error_in_the_table_is_not_a_table_without_classes(viewer):
    _, widget = viewer.window.add_plugin_dock_widget("napari-dinoiser", "DINOiser")
    for name in ("dog", "dog"):
        add_class(widget.segment, name)
    widget.folder.refresh()
    missing = text(widget.folder, "folder_missing")
    assert "'dog' has the same name as class 'dog'" in missing
    assert widget.segment.table.error() == missing


@pytest.fixture
def open_slow_tab(open_tab, monkeypatch):
    """Open a tab whose images, after the first, take until a stop is noticed."""
    begun, noticed = count(), threading.Event()
    label, cancel_waiting = ImageLabeller.label, labeller._cancel_waiting

    def slowly(self, images, records):
        assert next(begun) == 0 or noticed.wait(60)
        return label(self, images, records)

    def cancel_and_tell(running):
        cancel_waiting(running)
        noticed.set()

    monkeypatch.setattr(ImageLabeller, "label", slowly)
    monkeypatch.setattr(labeller, "_cancel_waiting", cancel_and_tell)
    # each thread finishes the image that it has begun
    return lambda: open_tab(settings=SegmentSettings(batch_size=1))


MANY = 100
"""More than threads have begun on any machine."""


@pytest.mark.slow
def test_cancelled_it_stops_and_goes_on_when_run_again(open_slow_tab, tmp_path, qtbot):
    tab = open_slow_tab()
    fill(tab, draw_images(tmp_path / "many", MANY), tmp_path / "out")
    click(tab, "run_folder")
    qtbot.waitUntil(lambda: "images/s" in text(tab, "folder_status"), timeout=LONG)
    click(tab, "cancel_folder")
    wait_until_through(tab, qtbot)
    assert text(tab, "folder_outcome").startswith("Stopped after ")
    early = {record.image for record in read_records(tmp_path / "out")}
    assert len(early) < MANY
    click(tab, "run_folder")
    wait_until_through(tab, qtbot)
    assert f"{len(early)} of them in an earlier run" in text(tab, "folder_outcome")


def test_closing_the_viewer_stops_the_job(open_slow_tab, tmp_path, qtbot):
    tab = open_slow_tab()
    fill(tab, draw_images(tmp_path / "many", MANY), tmp_path / "out")
    click(tab, "run_folder")
    qtbot.waitUntil(lambda: "images/s" in text(tab, "folder_status"), timeout=LONG)
    tab.viewer.close()
    pool = QThreadPool.globalInstance()
    qtbot.waitUntil(lambda: pool.activeThreadCount() == 0, timeout=LONG)
    assert len(list(read_records(tmp_path / "out"))) < MANY
    assert notes() == []


def test_what_is_missing_is_said_and_nothing_starts(open_tab, images, tmp_path):
    tab = open_tab(prompts=None)
    fill(tab, images, tmp_path / "out")
    assert text(tab, "folder_missing") == "There are no classes yet; add some in the Segment tab."
    assert not tab.findChild(QPushButton, "run_folder").isEnabled()
    assert not tab.findChild(QPushButton, "copy_command").isEnabled()
    assert tab.findChild(QPushButton, "copy_command").toolTip() == text(tab, "folder_missing")


def test_the_root_is_refused_in_a_sentence_while_it_is_typed(open_tab, images):
    tab = open_tab()
    fill(tab, images, "/")
    assert "choose a folder in it" in text(tab, "folder_missing")
    assert not tab.findChild(QPushButton, "run_folder").isEnabled()
    fill(tab, images, "/somewhere")
    assert text(tab, "folder_missing") == ""
    assert tab.findChild(QPushButton, "run_folder").isEnabled()


def test_weights_that_are_missing_offline_are_one_sentence(open_tab, images, tmp_path, qtbot):
    tab = open_tab(model="clip-dinoiser")
    fill(tab, images, tmp_path / "out")
    click(tab, "run_folder")
    wait_until_through(tab, qtbot)
    assert len(notes()) == 1
    assert "DINOISER_OFFLINE" in notes()[0]
    assert text(tab, "folder_outcome") == notes()[0]


def test_settings_that_do_not_suit_the_model_are_named_before_its_weights(
    open_tab, images, tmp_path, qtbot
):
    tab = open_tab(model="clip-dinoiser", settings=SegmentSettings(stride=500))
    fill(tab, images, tmp_path / "out")
    click(tab, "run_folder")
    wait_until_through(tab, qtbot)
    [note] = notes()
    assert "stride is 500, more than the window of 448" in note
    assert not (tmp_path / "out").exists()


def test_a_run_says_how_fast_it_is_and_what_is_left():
    now = SimpleNamespace(seconds=100.0)
    status = RunStatus(lambda: now.seconds)
    assert str(status) == "Loading the model …"
    status.update(Progress("label", 1_000, 3_000, "this process"))
    assert str(status) == "1,000 of 3,000 labelled"
    now.seconds += 50
    done = Record(image="a.png", stem="a", path="/a.png", status="done")
    status.update(Progress("label", 1_099, 3_000, "this process", record=done))
    failed = Record(image="b.png", stem="b", path="/b.png", status="failed", error="it is broken")
    status.update(Progress("label", 1_100, 3_000, "this process", record=failed))
    assert str(status) == "1,099 of 3,000 labelled · 1 failed · 2.0 images/s · 16 min left"
    assert status.latest == done
    status.update(Progress("export", 5, 2_999, "this process"))
    assert str(status) == "5 of 2,999 exported"
