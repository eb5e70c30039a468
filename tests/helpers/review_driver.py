"""How the tests drive the Review tab: real keys, real buttons, a real window."""

from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLabel, QPushButton

from dinoiser.batch import read_records
from dinoiser.prompts import PromptSet
from napari_dinoiser.review.widget import ReviewWidget

PROMPTS = PromptSet.from_names(["background", "ball", "box", "star"])


class Reviewer:
    """A person at the window."""

    def __init__(self, viewer, qtbot):
        self.viewer, self.qtbot = viewer, qtbot
        self.widget = ReviewWidget(viewer)
        self.dock = viewer.window.add_dock_widget(self.widget, name="Review")
        viewer.window._qt_window.show()
        qtbot.waitExposed(viewer.window._qt_window)

    def settle(self):
        """Wait until the window shows what was asked for."""
        self.qtbot.waitUntil(lambda: not self.widget._background.busy, timeout=20_000)

    def leave(self):
        """Let go of everything; the window that closes next must have nothing to ask."""
        self.settle()
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
        self.settle()
        found = self.widget.findChild(kind, name)
        assert found is not None, name
        return found

    def click(self, name):
        self.qtbot.mouseClick(self.child(QPushButton, name), Qt.MouseButton.LeftButton)
        self.settle()

    def press(self, key, modifier=Qt.KeyboardModifier.NoModifier):
        """Press a key on the canvas."""
        self.settle()
        canvas = self.viewer.window._qt_viewer.canvas.native
        canvas.setFocus()
        QTest.keyClick(canvas, key, modifier)
        self.settle()

    def text(self, name):
        return self.child(QLabel, name).text()

    @property
    def camera(self):
        return getattr(self.viewer, "scene", self.viewer).camera

    @property
    def labels(self):
        self.settle()
        return self.viewer.layers[1]

    @property
    def image(self):
        self.settle()
        return self.viewer.layers[0].name

    def paint(self, label):
        """Draw a dot at the middle with the brush."""
        self.labels.selected_label = label
        self.labels.mode = "paint"
        self.labels.paint((48, 64), label)


def expected_ious(job):
    return {record.image: record.expected_iou for record in read_records(job)}
