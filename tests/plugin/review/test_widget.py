"""The Review tab, driven as a person drives it: real keys, real buttons, a real window."""

import numpy as np
from PIL import Image
from pycocotools.coco import COCO
from qtpy.QtCore import Qt
from qtpy.QtGui import QDesktopServices, QIcon
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDockWidget,
    QLineEdit,
    QListView,
    QListWidget,
    QPushButton,
)

from dinoiser.batch import export
from dinoiser.batch.reviews import read_reviews
from dinoiser.export import read_mask
from tests.helpers.dropping import drop
from tests.helpers.export_jobs import decodes
from tests.helpers.review_driver import PROMPTS, expected_ious


def test_opens_with_the_worst_image_and_styled_layers(job, reviewer):
    reviewer.open(job)
    order = sorted(expected_ious(job).items(), key=lambda item: item[1])
    assert reviewer.image == order[0][0]
    assert reviewer.text("progress") == "0 of 4 checked"
    assert f"expected IoU {order[0][1]:.2f}" in reviewer.text("state")
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


@decodes
def test_painted_mask_is_saved_and_exported_and_rejected_left_out(job, reviewer):
    reviewer.open(job)
    painted = reviewer.image
    before = read_mask(job / "masks" / painted)
    label = next(c.id for c in PROMPTS.classes if c.id not in (0, int(before[48, 64])))
    reviewer.labels.brush_size = 9
    reviewer.paint(label)
    reviewer.click("accept")
    rejected = reviewer.image
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


def test_undo_stays_within_an_image(job, reviewer):
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


def test_corrected_images_that_are_passed_count_as_accepted(job, reviewer):
    reviewer.open(job)
    painted = reviewer.image
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
    assert reviewer.image == "a.png"
    order.setCurrentText("Share of a class")
    assert by_class.isVisible()
    for name in ("ball", "star"):
        by_class.setCurrentText(name)
        label = next(c.id for c in PROMPTS.classes if c.name == name)
        shares = {n: np.mean(read_mask(job / "masks" / n) == label) for n in expected_ious(job)}
        assert shares[reviewer.image] == max(shares.values())


def test_only_unchecked_until_none_is_left(job, reviewer):
    reviewer.open(job)
    first = reviewer.image
    reviewer.click("accept")
    box = reviewer.child(QCheckBox, "only_unchecked")
    box.click()
    assert "1 of 3" in reviewer.text("state")
    assert reviewer.image != first
    for _ in range(3):
        reviewer.click("accept")
    assert reviewer.text("progress") == "4 of 4 checked"
    assert reviewer.text("message") == "This was the last image."
    box.click()
    box.click()
    assert reviewer.text("message") == "All images are checked."
    assert not reviewer.labels.visible
    assert not reviewer.child(QPushButton, "accept").isEnabled()


def test_the_end_says_how_it_went_and_exports(job, reviewer):
    reviewer.open(job)
    reviewer.labels.data = np.full((96, 128), 2, np.uint8)
    reviewer.click("accept")
    reviewer.click("reject")
    reviewer.click("accept")
    reviewer.click("accept")
    assert "4 checked, 1 corrected, 1 rejected" in reviewer.text("end")
    assert not reviewer.child(QPushButton, "accept").isVisible()
    reviewer.click("end_yolo")
    assert "exported" in reviewer.text("message")
    assert (job / "data.yaml").exists()
    reviewer.click("end_back")
    assert reviewer.child(QPushButton, "accept").isVisible()


def test_the_end_writes_the_report_anew_and_opens_it(job, reviewer, monkeypatch):
    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", opened.append)
    (job / "report.html").unlink(missing_ok=True)
    reviewer.open(job)
    for _ in range(4):
        reviewer.click("accept")
    reviewer.click("end_report")
    assert "4 of 4" in (job / "report.html").read_text()
    assert opened[0].toLocalFile() == str(job / "report.html")


def test_the_end_names_images_that_cannot_be_exported(job, reviewer):
    reviewer.open(job)
    first = reviewer.image
    for _ in range(4):
        reviewer.click("accept")
    (job / "masks" / first).with_suffix(".png").write_bytes(b"no mask")
    reviewer.click("end_coco")
    assert first in reviewer.text("message")


def test_the_list_shows_states_and_opens_images(job, reviewer):
    reviewer.open(job)
    first = reviewer.image
    reviewer.click("reject")
    queue = reviewer.child(QListView, "queue_list")
    texts = [queue.model().index(row, 0).data() for row in range(4)]
    assert texts[0].startswith("✗")
    assert texts[0].endswith(first)
    assert all(text.startswith("·") for text in texts[1:])
    reviewer.qtbot.mouseClick(
        queue.viewport(),
        Qt.MouseButton.LeftButton,
        pos=queue.visualRect(queue.model().index(0, 0)).center(),
    )
    assert reviewer.image == first


def test_a_job_that_is_dropped_is_opened(job, reviewer):
    line = reviewer.child(QLineEdit, "job_folder")
    with reviewer.qtbot.waitSignal(reviewer.widget.job_opened, timeout=20_000) as opened:
        drop(line, job)
    assert opened.args == [str(job)]


def test_other_layers_are_hidden_while_reviewing_and_come_back(job, reviewer):
    large = reviewer.viewer.add_image(np.zeros((2000, 3000)), name="large")
    reviewer.open(job)
    assert not large.visible
    height, width = reviewer.viewer.window._qt_viewer.canvas.size
    filled = max(96 / height, 128 / width) * reviewer.camera.zoom
    assert filled > 0.8, "the image under review fills the view"
    reviewer.dock.hide()
    assert large.visible


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
    swatch = classes.currentItem().icon().pixmap(14, 14, QIcon.Mode.Selected).toImage()
    assert swatch.pixelColor(7, 7).name() == PROMPTS.classes[3].color, "not tinted by the row"


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
    first, before = reviewer.image, np.array(reviewer.labels.data)
    reviewer.paint(77)
    notes = []
    from napari.utils.notifications import notification_manager

    notification_manager.notification_ready.connect(lambda note: notes.append(note.message))
    reviewer.click("accept")
    assert reviewer.image == first
    assert "label 77 of" in notes[0]
    np.testing.assert_array_equal(read_mask(job / "masks" / first), before)


def test_an_image_that_is_gone_can_only_be_rejected_or_passed(job, reviewer, tmp_path):
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
    assert reviewer.image == "d.png"
    assert reviewer.labels.visible


def test_layers_that_were_removed_come_back(job, reviewer):
    reviewer.open(job)
    painted = reviewer.image
    reviewer.labels.data = np.full((96, 128), 3, np.uint8)
    reviewer.viewer.layers.clear()
    reviewer.click("next")
    assert (read_mask(job / "masks" / painted) == 3).all()
    assert [type(layer).__name__ for layer in reviewer.viewer.layers] == ["Image", "Labels"]
    assert reviewer.image != painted


def test_no_job_is_said_in_a_notification(job, reviewer, tmp_path):
    from napari.utils.notifications import notification_manager

    reviewer.open(job)
    notes = []
    notification_manager.notification_ready.connect(lambda note: notes.append(note.message))
    folder = reviewer.child(QLineEdit, "job_folder")
    folder.setText(str(tmp_path / "nothing"))
    QTest.keyClick(folder, Qt.Key.Key_Return)
    reviewer.qtbot.waitUntil(lambda: len(notes) > 0, timeout=10_000)
    assert "does not contain a job" in notes[0]
    assert reviewer.text("progress") == "0 of 4 checked", "the job before stays open"


def test_panel_without_a_job_has_nothing_to_press(reviewer):
    assert reviewer.text("progress") == "Open the output folder of a job to review it."
    assert not any(
        reviewer.child(QPushButton, name).isEnabled() for name in ("next", "accept", "reject")
    )
    assert reviewer.dock.findChild(QDockWidget) is None
