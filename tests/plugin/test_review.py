"""The Review tab, driven as a person drives it: real keys, real buttons, a real window."""

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from qtpy.QtCore import Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QDockWidget,
    QLabel,
    QLineEdit,
    QListWidget,
    QMessageBox,
    QPushButton,
)

from dinoiser.batch import LabelJob, export, read_records, run
from dinoiser.batch.reviews import read_reviews
from dinoiser.export import read_mask
from dinoiser.prompts import PromptSet
from dinoiser.scenes import draw_scene
from napari_dinoiser.review_widget import ReviewWidget
from tests.export_jobs import decodes

PROMPTS = PromptSet.from_names(["background", "ball", "box", "star"])


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A real job on four drawn scenes."""
    folder = tmp_path_factory.mktemp("job")
    (folder / "in").mkdir()
    rng = np.random.default_rng(5)
    for name in ("a", "b", "c", "d"):
        Image.fromarray(draw_scene(rng, (96, 128)).image).save(folder / "in" / f"{name}.png")
    job = LabelJob((folder / "in",), folder / "out", PROMPTS, model="tiny", device="cpu")
    assert run(job).done == 4
    return folder / "out"


@pytest.fixture
def job(labelled, tmp_path):
    """A copy of it to review."""
    import shutil

    return shutil.copytree(labelled, tmp_path / "out")


class Reviewer:
    """A person at the window."""

    def __init__(self, viewer, qtbot):
        self.viewer, self.qtbot = viewer, qtbot
        self.widget = ReviewWidget(viewer)
        self.dock = viewer.window.add_dock_widget(self.widget, name="Review")
        viewer.window._qt_window.show()
        qtbot.waitExposed(viewer.window._qt_window)

    def leave(self):
        """Let go of everything; the window that closes next must have nothing to ask."""
        if self.widget._session and self.widget._session.current:
            self.widget._take_labels()
            self.widget._session.revert()
            self.widget._layers.show_labels(self.widget._session.current.labels)
        del self.viewer, self.widget, self.dock

    def open(self, folder):
        with self.qtbot.waitSignal(self.widget.job_opened, timeout=20_000):
            self.widget.open_job(folder)

    def window_to_close(self):
        """Give the window, which the fixture of napari must find whole when it closes it again."""
        window = self.viewer.window._qt_window
        window.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose, False)
        return window

    def activate(self):
        window = self.viewer.window._qt_window
        with self.qtbot.waitActive(window):
            window.activateWindow()

    def child(self, kind, name):
        found = self.widget.findChild(kind, name)
        assert found is not None, name
        return found

    def click(self, name):
        self.qtbot.mouseClick(self.child(QPushButton, name), Qt.MouseButton.LeftButton)

    def press(self, key, modifier=Qt.KeyboardModifier.NoModifier):
        """Press a key on the canvas."""
        canvas = self.viewer.window._qt_viewer.canvas.native
        canvas.setFocus()
        QTest.keyClick(canvas, key, modifier)

    def text(self, name):
        return self.child(QLabel, name).text()

    @property
    def labels(self):
        return self.viewer.layers[1]

    @property
    def picture(self):
        return self.viewer.layers[0].name

    def paint(self, label):
        """Draw a dot at the middle with the brush."""
        self.labels.selected_label = label
        self.labels.mode = "paint"
        self.labels.paint((48, 64), label)


@pytest.fixture
def reviewer(make_napari_viewer, qtbot):
    person = Reviewer(make_napari_viewer(show=True), qtbot)
    yield person
    person.leave()


@pytest.fixture
def answer():
    """Click a button of the next question that comes up; tells whether one came."""
    asked = []

    def prepare(button):
        def click():
            box = QApplication.activeModalWidget()
            if isinstance(box, QMessageBox):
                asked.append(box.text())
                box.button(button).click()

        QTimer.singleShot(300, click)
        return asked

    return prepare


def certainties(job):
    return {record.image: record.certainty for record in read_records(job)}


def test_opens_with_the_least_certain_picture_and_styled_layers(job, reviewer):
    reviewer.open(job)
    order = sorted(certainties(job).items(), key=lambda item: item[1])
    assert reviewer.picture == order[0][0]
    assert reviewer.text("progress") == "0 of 4 checked"
    assert f"certainty {order[0][1]:.2f}" in reviewer.text("state")
    assert [type(layer).__name__ for layer in reviewer.viewer.layers] == ["Image", "Labels"]
    assert list(reviewer.labels.features["class"]) == [
        *("background", "ball", "box", "star"),
        "ignore",
    ]
    ball = PROMPTS.classes[1]
    np.testing.assert_allclose(
        reviewer.labels.get_color(ball.id)[:3],
        [int(ball.color[i : i + 2], 16) / 255 for i in (1, 3, 5)],
        atol=1e-6,
    )


def test_keys_work_on_the_canvas_with_the_labels_layer_selected(job, reviewer):
    reviewer.open(job)
    reviewer.viewer.layers.selection.active = reviewer.labels
    names = [name for name, _ in sorted(certainties(job).items(), key=lambda item: item[1])]
    reviewer.press(Qt.Key.Key_N)
    assert reviewer.picture == names[1]
    reviewer.press(Qt.Key.Key_N, Qt.KeyboardModifier.ShiftModifier)
    assert reviewer.picture == names[0]
    reviewer.press(Qt.Key.Key_2)
    assert reviewer.labels.selected_label == PROMPTS.classes[2].id
    assert str(reviewer.labels.mode) == "pan_zoom", "napari's own meaning of 2 is the brush"
    reviewer.press(Qt.Key.Key_0)
    assert reviewer.labels.selected_label == 0
    reviewer.press(Qt.Key.Key_P)
    reviewer.press(Qt.Key.Key_T)
    assert not reviewer.labels.visible
    reviewer.press(Qt.Key.Key_T)
    assert reviewer.labels.visible
    assert str(reviewer.labels.mode) == "paint", "the brush stays in the hand"
    reviewer.press(Qt.Key.Key_A)
    assert reviewer.picture == names[1]
    reviewer.press(Qt.Key.Key_R)
    assert reviewer.picture == names[2]
    states = {name: review.state for name, review in read_reviews(job).items()}
    assert states == {names[0]: "accepted", names[1]: "rejected"}
    assert reviewer.text("progress") == "2 of 4 checked"
    reviewer.press(Qt.Key.Key_N, Qt.KeyboardModifier.ShiftModifier)
    reviewer.press(Qt.Key.Key_N, Qt.KeyboardModifier.ShiftModifier)
    reviewer.press(Qt.Key.Key_U)
    assert reviewer.picture == names[2]


@pytest.mark.parametrize("selected", ["image", "nothing"])
def test_keys_work_whatever_layer_is_selected(job, reviewer, selected):
    reviewer.open(job)
    layers = reviewer.viewer.layers
    layers.selection.active = layers[0] if selected == "image" else None
    first = reviewer.picture
    reviewer.press(Qt.Key.Key_1)
    assert reviewer.labels.selected_label == PROMPTS.classes[1].id
    reviewer.press(Qt.Key.Key_N)
    assert reviewer.picture != first


def test_keys_work_in_the_panel_but_not_in_its_text(job, reviewer):
    reviewer.open(job)
    reviewer.activate()
    first = reviewer.picture
    order = reviewer.child(QComboBox, "order")
    order.setFocus()
    QTest.keyClick(order, Qt.Key.Key_N)
    assert reviewer.picture != first
    folder = reviewer.child(QLineEdit, "job_folder")
    folder.setFocus()
    folder.clear()
    second = reviewer.picture
    QTest.keyClicks(folder, "nara1")
    assert folder.text() == "nara1"
    assert reviewer.picture == second
    assert read_reviews(job) == {}


def test_keys_are_given_back_while_the_panel_is_hidden(job, reviewer):
    reviewer.open(job)
    called = []
    reviewer.dock.hide()
    reviewer.viewer.bind_key("n", lambda viewer: called.append("n"), overwrite=True)
    reviewer.press(Qt.Key.Key_N)
    reviewer.viewer.layers.selection.active = reviewer.labels
    reviewer.press(Qt.Key.Key_2)
    assert called == ["n"]
    assert str(reviewer.labels.mode) == "paint", "2 is napari's brush again"
    first = reviewer.picture
    reviewer.dock.show()
    reviewer.press(Qt.Key.Key_N)
    assert called == ["n"]
    assert reviewer.picture != first
    reviewer.dock.hide()
    reviewer.press(Qt.Key.Key_N)
    assert called == ["n", "n"]


@decodes
def test_painted_mask_is_saved_and_exported_and_rejected_left_out(job, reviewer):
    reviewer.open(job)
    painted = reviewer.picture
    before = read_mask(job / "masks" / painted)
    label = next(c.id for c in PROMPTS.classes if c.id not in (0, int(before[48, 64])))
    reviewer.labels.brush_size = 9
    reviewer.paint(label)
    reviewer.click("accept")
    rejected = reviewer.picture
    reviewer.click("reject")

    mask = Image.open(job / "masks" / painted)
    after = np.asarray(mask)
    assert mask.mode == "P"
    assert mask.getpalette()[:12] == PROMPTS.palette[:4].ravel().tolist()
    assert after[48, 64] == label
    far = np.hypot(*np.ogrid[-48:48, -64:64]) > 9
    assert (after == before)[far].all()
    review = read_reviews(job)[painted]
    assert (review.state, review.edited) == ("accepted", True)
    assert review.pixels[label] == np.count_nonzero(after == label)

    export(job, ["coco"])
    coco = COCO(str(job / "annotations.json"))
    names = {image["file_name"]: key for key, image in coco.imgs.items()}
    assert set(names) == {"a.png", "b.png", "c.png", "d.png"} - {rejected}
    annotations = coco.loadAnns(coco.getAnnIds(names[painted], catIds=[label]))
    exported = np.any([coco.annToMask(a) for a in annotations], axis=0)
    np.testing.assert_array_equal(exported, after == label)


def test_undo_stays_within_a_picture(job, reviewer):
    reviewer.open(job)
    reviewer.paint(1)
    reviewer.press(Qt.Key.Key_N)
    shown = np.array(reviewer.labels.data)
    reviewer.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(reviewer.labels.data, shown)
    assert str(reviewer.labels.mode) == "paint", "the tool stays in the hand"
    reviewer.labels.paint((10, 10), 3)
    reviewer.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(reviewer.labels.data, shown)


def test_corrected_pictures_that_are_passed_count_as_accepted(job, reviewer):
    reviewer.open(job)
    painted = reviewer.picture
    reviewer.labels.data = np.full((96, 128), 2, np.uint8)  # as a script would
    reviewer.click("next")
    reviewer.click("next")
    assert {n: r.state for n, r in read_reviews(job).items()} == {painted: "accepted"}
    assert (read_mask(job / "masks" / painted) == 2).all()


def test_orders(job, reviewer):
    reviewer.open(job)
    order = reviewer.child(QComboBox, "order")
    by_class = reviewer.child(QComboBox, "order_class")
    assert not by_class.isVisible()
    order.setCurrentText("File name")
    assert reviewer.picture == "a.png"
    order.setCurrentText("Share of a class")
    assert by_class.isVisible()
    for name in ("ball", "star"):
        by_class.setCurrentText(name)
        label = next(c.id for c in PROMPTS.classes if c.name == name)
        shares = {n: np.mean(read_mask(job / "masks" / n) == label) for n in certainties(job)}
        assert shares[reviewer.picture] == max(shares.values())


def test_only_unchecked_until_none_is_left(job, reviewer):
    reviewer.open(job)
    first = reviewer.picture
    reviewer.click("accept")
    box = reviewer.child(QCheckBox, "only_unchecked")
    box.click()
    assert "1 of 3" in reviewer.text("state")
    assert reviewer.picture != first
    for _ in range(3):
        reviewer.click("accept")
    assert reviewer.text("progress") == "4 of 4 checked"
    assert reviewer.text("message") == "This was the last picture."
    box.click()
    box.click()
    assert reviewer.text("message") == "All pictures are checked."
    assert not reviewer.labels.visible
    assert not reviewer.child(QPushButton, "accept").isEnabled()


def test_classes_are_chosen_from_the_list(job, reviewer):
    reviewer.open(job)
    classes = reviewer.child(QListWidget, "classes")
    texts = [classes.item(row).text() for row in range(classes.count())]
    assert [text.split() for text in texts] == [
        *(["0", "background"], ["1", "ball"], ["2", "box"], ["3", "star"]),
        ["ignore"],
    ]
    reviewer.qtbot.mouseClick(
        classes.viewport(),
        Qt.MouseButton.LeftButton,
        pos=classes.visualItemRect(classes.item(4)).center(),
    )
    assert reviewer.labels.selected_label == 255
    reviewer.labels.selected_label = PROMPTS.classes[3].id
    assert classes.currentItem().text() == texts[3]


def test_revert_brings_back_the_saved_mask(job, reviewer):
    reviewer.open(job)
    before = np.array(reviewer.labels.data)
    reviewer.paint(1 if before[48, 64] != 1 else 2)
    reviewer.click("revert")
    np.testing.assert_array_equal(reviewer.labels.data, before)
    reviewer.click("next")
    assert read_reviews(job) == {}


def test_a_label_of_no_class_is_not_saved(job, reviewer):
    reviewer.open(job)
    first, before = reviewer.picture, np.array(reviewer.labels.data)
    reviewer.paint(77)
    notes = []
    from napari.utils.notifications import notification_manager

    notification_manager.notification_ready.connect(lambda note: notes.append(note.message))
    reviewer.click("accept")
    assert reviewer.picture == first
    assert "label 77 of" in notes[0]
    np.testing.assert_array_equal(read_mask(job / "masks" / first), before)


def test_a_picture_that_is_gone_can_only_be_rejected_or_passed(job, reviewer, tmp_path):
    lines = (job / "records" / "labels.jsonl").read_text()
    (job / "records" / "labels.jsonl").write_text(lines.replace("/in/c.png", "/gone/c.png"))
    reviewer.open(job)
    reviewer.child(QComboBox, "order").setCurrentText("File name")
    reviewer.click("next")
    reviewer.click("next")
    assert "gone/c.png" in reviewer.text("message")
    assert not reviewer.labels.visible
    reviewer.press(Qt.Key.Key_A)
    assert "c.png" not in read_reviews(job)
    reviewer.press(Qt.Key.Key_R)
    assert read_reviews(job)["c.png"].state == "rejected"
    assert reviewer.picture == "d.png"
    assert reviewer.labels.visible


def test_layers_that_were_removed_come_back(job, reviewer):
    reviewer.open(job)
    painted = reviewer.picture
    reviewer.labels.data = np.full((96, 128), 3, np.uint8)
    reviewer.viewer.layers.clear()
    reviewer.click("next")
    assert (read_mask(job / "masks" / painted) == 3).all()
    assert [type(layer).__name__ for layer in reviewer.viewer.layers] == ["Image", "Labels"]
    assert reviewer.picture != painted


def test_no_job_is_said_in_a_notification(job, reviewer, tmp_path):
    from napari.utils.notifications import notification_manager

    reviewer.open(job)
    notes = []
    notification_manager.notification_ready.connect(lambda note: notes.append(note.message))
    folder = reviewer.child(QLineEdit, "job_folder")
    folder.setText(str(tmp_path / "nothing"))
    QTest.keyClick(folder, Qt.Key.Key_Return)
    reviewer.qtbot.waitUntil(lambda: len(notes) > 0, timeout=10_000)
    assert "holds no job" in notes[0]
    assert reviewer.text("progress") == "0 of 4 checked", "the job before stays open"


@pytest.mark.parametrize(
    ("button", "open_after", "saved"),
    [
        (QMessageBox.StandardButton.Save, False, True),
        (QMessageBox.StandardButton.Discard, False, False),
        (QMessageBox.StandardButton.Cancel, True, False),
    ],
)
def test_closing_the_window_with_unsaved_edits_asks(
    job, reviewer, answer, button, open_after, saved
):
    reviewer.open(job)
    painted = reviewer.picture
    before = read_mask(job / "masks" / painted)
    edited = np.full((96, 128), 3, np.uint8)
    reviewer.labels.data = edited
    asked = answer(button)
    window = reviewer.window_to_close()
    window.close()
    assert len(asked) == 1
    assert painted in asked[0]
    assert window.isVisible() == open_after
    if open_after:
        np.testing.assert_array_equal(reviewer.labels.data, edited)
    np.testing.assert_array_equal(read_mask(job / "masks" / painted), edited if saved else before)


def test_closing_without_edits_does_not_ask(job, reviewer, answer):
    reviewer.open(job)
    asked = answer(QMessageBox.StandardButton.Save)
    window = reviewer.window_to_close()
    window.close()
    assert not window.isVisible()
    reviewer.qtbot.wait(400)
    assert asked == []


def test_closing_the_panel_asks_and_ends_the_review(job, reviewer, answer):
    reviewer.open(job)
    painted = reviewer.picture
    reviewer.labels.data = np.full((96, 128), 3, np.uint8)
    asked = answer(QMessageBox.StandardButton.Save)
    reviewer.dock.title.close_button.click()
    assert len(asked) == 1
    assert (read_mask(job / "masks" / painted) == 3).all()
    reviewer.viewer.layers.selection.active = reviewer.labels
    reviewer.press(Qt.Key.Key_2)
    assert str(reviewer.labels.mode) == "paint", "2 is napari's brush again"


def test_another_job_asks_about_edits_and_takes_over_the_layers(
    job, labelled, reviewer, answer, tmp_path
):
    import shutil

    other = shutil.copytree(labelled, tmp_path / "other")
    other_prompts = PromptSet.from_names(["background", "tree", "box", "star"])
    other_prompts.save(other / "prompts.yaml")
    reviewer.open(job)
    painted = reviewer.picture
    reviewer.labels.data = np.full((96, 128), 3, np.uint8)
    asked = answer(QMessageBox.StandardButton.Cancel)
    reviewer.widget.open_job(other)
    assert len(asked) == 1
    assert reviewer.picture == painted
    answer(QMessageBox.StandardButton.Save)
    reviewer.open(other)
    assert (read_mask(job / "masks" / painted) == 3).all()
    assert len(reviewer.viewer.layers) == 2
    assert list(reviewer.labels.features["class"])[1] == "tree"
    assert "tree" in reviewer.child(QListWidget, "classes").item(1).text()


def test_edits_are_kept_for_a_crash_and_offered_again(job, reviewer, make_napari_viewer, qtbot):
    reviewer.open(job)
    painted = reviewer.picture
    edited = np.full((96, 128), 3, np.uint8)
    reviewer.labels.data = edited
    unsaved = job / ".unsaved" / painted
    qtbot.waitUntil(unsaved.exists, timeout=10_000)

    after_crash = Reviewer(make_napari_viewer(show=True), qtbot)
    after_crash.open(job)
    assert after_crash.picture == painted
    np.testing.assert_array_equal(after_crash.labels.data, edited)
    assert "not saved when napari ended" in after_crash.text("message")
    after_crash.click("revert")
    assert not unsaved.exists()
    np.testing.assert_array_equal(after_crash.labels.data, read_mask(job / "masks" / painted))
    after_crash.leave()


def test_panel_without_a_job_has_nothing_to_press(reviewer):
    assert reviewer.text("progress") == "Open the output folder of a job to review it."
    assert not any(
        reviewer.child(QPushButton, name).isEnabled() for name in ("next", "accept", "reject")
    )
    assert reviewer.dock.findChild(QDockWidget) is None
