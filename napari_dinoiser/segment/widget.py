"""The Segment tab: an image, words, and the resulting labels."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from dinoiser.errors import DinoiserError, ImageError
from dinoiser.models.catalog import find_model
from dinoiser.prompts.palette import IGNORE_COLOR
from napari_dinoiser.background import Background
from napari_dinoiser.in_view import in_pixels, plane_in_view
from napari_dinoiser.key_hints import KeyHints
from napari_dinoiser.model_choice import ModelChoice
from napari_dinoiser.model_picker import ModelPicker
from napari_dinoiser.object_tool import ObjectTool, Target
from napari_dinoiser.prompts.table import PromptTable
from napari_dinoiser.segment.advanced_settings import VISIBLE, WHOLE_IMAGE, AdvancedSettings
from napari_dinoiser.segment.canvas_keys import NO_SLICE, CanvasKeys
from napari_dinoiser.segment.encoder import Encoder
from napari_dinoiser.segment.image_layers import drawn_part, visible_part
from napari_dinoiser.segment.image_picker import ImagePicker
from napari_dinoiser.segment.labelled_images import LabelledImages
from napari_dinoiser.segment.map_choice import MapChoice
from napari_dinoiser.segment.painted_classes import PaintedClasses
from napari_dinoiser.segment.parts import nearest_first
from napari_dinoiser.segment.runner import Runner
from napari_dinoiser.segment.session import Request
from napari_dinoiser.segment.stroke_teacher import StrokeTeacher
from napari_dinoiser.segment.taken_labels import TakeLabelsButton
from napari_dinoiser.segment.word_box import WordBox

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    import numpy as np
    from napari import Viewer
    from napari.components import Camera
    from napari.layers import Image, Labels

    from dinoiser.prompts import PromptSet
    from dinoiser.segmentation import Segmentation
    from napari_dinoiser.segment.image_source import ImageSource
    from napari_dinoiser.segment.labelled_images import Labelled
    from napari_dinoiser.segment.parts import Part
    from napari_dinoiser.segment.stroke_teacher import Lesson

RUN = "Label the image with the words in the table"
CANCEL = "Stop; existing labels are kept"
HINTS = (
    "1-9 paint", "Shift object", "/ search a class", "F fill", "E erase", "Ctrl+Z undo",
    "O outlines", "[ ] opacity", "I one class", "G next uncertain place", "W box",
    ", . copy to the next slice",
)  # fmt: skip
"""Keys, and what they do in a word or two."""
SPECK = 16
"""Pixels; what has fewer is not counted as an object."""
PAUSE = 120
"""Milliseconds without a change of words or view before labels and maps are updated."""


class SegmentWidget(QWidget):
    """Label an image layer with words, and update its labels when the words change.

    Parameters
    ----------
    viewer
        The viewer whose layers are labelled.
    encoder
        The encoder of images; None for a new one.
    parent
        Parent widget.
    """

    def __init__(
        self, viewer: Viewer, encoder: Encoder | None = None, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.images = LabelledImages.of_window(viewer)
        self.picker = ImagePicker(viewer)
        self.models = ModelPicker()
        self.table = PromptTable()
        self.painted = PaintedClasses(self.images, self.table)
        self.box = WordBox(viewer, self)
        self.keys = CanvasKeys(
            viewer, self.images, self._labelled, self.table, self.painted, self.box, self._tell
        )
        self.objects = ObjectTool(viewer, self._target, self.keys.label_of, self)
        self.advanced = AdvancedSettings(viewer)
        self.runner = Runner(encoder or Encoder(), self)
        self.teacher = StrokeTeacher()
        # a worker of napari's would stay in memory, and with it the image
        self._counting = Background(self)
        self._running_on: Image | None = None
        self._activity: Any = None
        self._pause, self._moving = QTimer(self), QTimer(self)
        for timer in (self._pause, self._moving):
            timer.setSingleShot(True)
            timer.setInterval(PAUSE)
        self._create_children()
        self._lay_out()
        self._connect()
        self._let_keys_work_over_image()
        self._go_on()
        self._show_ignored()
        self._update_buttons()

    def _go_on(self) -> None:
        """Have the model and words that the tab had when it was closed."""
        model, words = self.images.model, self.images.words
        if model is not None:
            self.models.set_model_name(model[0])
            self.models.set_heads(model[1])
        if words is not None:
            self.table.set_prompt_set(words)

    def _keep_choices(self) -> None:
        self.images.model = self.models.model_name(), self.models.heads()
        self.images.words = self.table.prompt_set() or self.images.words

    def choice(self) -> ModelChoice:
        """Return the chosen model and settings."""
        return ModelChoice(
            self.models.model_name(),
            self.models.heads(),
            self.advanced.device(),
            self.advanced.settings(),
        )

    def run(self) -> None:
        """Label the chosen image; if this is not possible, a notification says why."""
        image, source, prompts = self.picker.layer(), self.picker.source(), self.table.prompt_set()
        if image is None or source is None or prompts is None:
            self._say(self._what_is_missing())
            return
        try:
            parts = self._parts(image, source)
        except DinoiserError as error:
            self._say(str(error))
            return
        self._submit(
            image,
            Request(self.choice(), source, tuple(parts), prompts, lesson=self._lesson(prompts)),
        )

    def _run_or_cancel(self) -> None:
        if self.runner.request is None:
            self.run()
        else:
            self._cancel()

    def _cancel(self) -> None:
        self._running_on = None  # words that change meanwhile do not begin it again
        self.runner.cancel()

    def _parts(self, image: Image, source: ImageSource) -> list[Part]:
        region = self.advanced.region()
        plane = self._plane(image)
        if not (self.advanced.all_planes() and region == WHOLE_IMAGE):
            self._check_view(image, plane)
        rows = columns = slice(None)
        if region == VISIBLE:
            rows, columns = visible_part(image)
        elif region != WHOLE_IMAGE:
            rows, columns = drawn_part(region, image, self.viewer.dims) or (rows, columns)
        step = None if self.advanced.all_planes() else plane
        return self._in_view_first(source.parts(step, rows, columns, visible_part(image)), image)

    def _check_view(self, image: Image, plane: tuple[int, ...] | None) -> None:
        """Raise an error if the view does not show the slices of a stack as they are labelled."""
        if plane is None:
            msg = (
                f"the sliders are beyond the slices of {image.name}; move them to one of these, or "
                "choose all slices of the whole image in Advanced"
            )
            raise ImageError(msg)
        dims = self.viewer.dims
        shown, labelled = dims.displayed, (dims.ndim - 2, dims.ndim - 1)
        if image.ndim > 2 and set(shown) != set(labelled):
            seen, wanted = (
                ", ".join(dims.axis_labels[axis] for axis in axes) for axes in (shown, labelled)
            )
            msg = (
                f"the view shows the axes {seen} of the stack, but its slices along {wanted} are "
                "labelled; show those in 2D, or choose all slices of the whole image in Advanced"
            )
            raise ImageError(msg)

    def _run_in_box(self) -> None:
        if self.box.layer is not None:
            self.advanced.set_region(self.box.layer)
            self.run()

    def _in_view_first(self, parts: Sequence[Part], image: Image) -> list[Part]:
        dims, center = self.viewer.dims, self._camera.center[-2:]
        row, column = in_pixels(dims, image, [*dims.point[:-2], *center])[-2:]
        return nearest_first(parts, self._plane(image), (float(row), float(column)))

    def _plane(self, image: Image) -> tuple[int, ...] | None:
        """Return the plane of the image's labels that is shown; None if there is none."""
        return plane_in_view(self.viewer.dims, image, self.picker.channel_axis())

    def _submit(self, image: Image, request: Request) -> None:
        self._running_on = image
        self.runner.submit(request)

    def _what_is_missing(self) -> str:
        if self.picker.layer() is None:
            return (
                "There is no image yet: open one with File > Open, or drop a file onto the viewer."
            )
        return (
            self.table.error() or "There are no classes yet: type one into the table, such as dog."
        )

    def _follow_words(self) -> None:
        """Update the labels for the words in the table, without encoding the image again."""
        # while a request runs, it is replaced; otherwise what is encoded is labelled again
        prompts, request = self.table.prompt_set(), self.runner.request
        if prompts is None:
            return
        lesson = self._lesson(prompts)
        if request is not None and self._running_on is not None:
            parts = self._in_view_first(request.parts, self._running_on)
            self.runner.submit(replace(request, parts=tuple(parts), prompts=prompts, lesson=lesson))
            return
        image = self.picker.layer()
        known = self.images.of(image)
        within = image and self.box.layer and drawn_part(self.box.layer, image, self.viewer.dims)
        again = known and known.session.again(prompts, self.runner.encoder, within, lesson)
        if image is not None and again:
            parts = self._in_view_first(again.parts, image)
            self._submit(image, replace(again, parts=tuple(parts)))

    def _lesson(self, prompts: PromptSet) -> Lesson | None:
        """Return what the strokes teach; None while the button is off, or nothing is painted."""
        if not self._learn.isChecked():
            return None
        known = self._labelled()
        if known is not None:
            self.teacher.look(known.session.strokes(prompts))
        return self.teacher.lesson

    def _follow_strokes(self) -> None:
        if self._learn.isChecked():
            self._follow_words()  # unlike a word, a stroke is whole: nothing more to wait for

    def _save_learned(self, path: str) -> None:
        lesson, prompts = self.teacher.lesson, self.table.prompt_set()
        learned = lesson.learned if lesson and self._learn.isChecked() else None
        if prompts is None:
            return
        try:
            if learned is None or not learned.moves:
                self._set_aside(_neighbour(path))
                return
            learned.check_classes(prompts)
            learned.save(_neighbour(path))
        except (DinoiserError, OSError) as error:
            self._say(str(error))

    def _set_aside(self, neighbour: Path) -> None:
        """Rename what was learnt for earlier words, so that it is not loaded with these."""
        if neighbour.exists():
            endings = (f".old{number}.safetensors" for number in chain([""], count(2)))
            old = next(o for o in map(neighbour.with_suffix, endings) if not o.exists())
            neighbour.replace(old)
            self._tell(f"Saved the words alone; what was learnt earlier is now {old.name}.")

    def _load_learned(self, path: str) -> None:
        from dinoiser.learning.learned import Learned

        prompts, neighbour = self.table.prompt_set(), _neighbour(path)
        if prompts is None or not neighbour.exists():
            return
        try:
            learned = Learned.load(neighbour)
            learned.check_classes(prompts)
        except DinoiserError as error:
            self._say(str(error))
            return
        self.teacher.start_from(learned)
        self._learn.setChecked(True)
        self._pause.start()

    def _show(self, request: Request, part: Part, result: Segmentation) -> None:
        image = self._running_on
        if image is None or image not in self.viewer.layers:
            return
        known = self.images.take(image, request, part, result)
        self._style(known, result.prompts)
        self._show_maps()
        self._update_buttons()

    def _show_maps(self, *_: Any) -> None:
        known = self._labelled()
        if known is None or known.session.prompts is None:
            return
        names = {item.id: item.name for item in known.session.prompts.classes if item.id}
        selected = names.get(self.table.selected_id() or next(iter(names)))
        self.images.show_map(known, self._maps.map(), selected)

    @property
    def _camera(self) -> Camera:
        return getattr(
            self.viewer, "scene", self.viewer
        ).camera  # on the viewer itself before napari 0.9

    def _start_moving(self, event: Any = None) -> None:
        self._moving.start()

    def _restyle(self) -> None:
        known, prompts = self._labelled(), self.table.prompt_set()
        if known is not None and prompts is not None:
            self._style(known, prompts)

    def _style(self, known: Labelled, prompts: PromptSet) -> None:
        visible = self.table.visible_ids().union(self.painted.kept())
        self.images.style(known, self.painted.legend(prompts), visible)

    # ---- keys ----------------------------------------------------------------------------------

    def _let_keys_work_over_image(self) -> None:
        """Let the keys work while the chosen image is selected, whose own would come first."""
        image = self.picker.layer()
        if image is not None:
            self.keys.add(image)

    def showEvent(self, event: Any) -> None:
        """Let the keys work."""
        super().showEvent(event)
        self.keys.bind()
        self.objects.start()

    def hideEvent(self, event: Any) -> None:
        """Give the keys back."""
        self.objects.stop()
        self.keys.release()
        super().hideEvent(event)

    def _let_keys_work(self, layer: Labels) -> None:
        """Add a layer's keys; a method of this widget, as Qt lets go of it together with that."""
        self.keys.add(layer)

    def _choose_image_of(self, event: Any) -> None:
        """Choose the image whose labels the user selects: the keys and buttons are for these."""
        image = self.images.under(event.value)
        if image is not None:
            self.picker.choose(image)

    def _stop_if_gone(self, source: ImageSource) -> None:
        """Stop labelling an image that was removed or has changed."""
        if self.runner.request is not None and self.runner.request.source is source:
            self._cancel()

    def _labelled(self) -> Labelled | None:
        return self.images.of(self.picker.layer())

    def _target(self) -> Target | None:
        """Return where objects are found and labelled."""
        known = self._labelled()
        if known is None:
            return None
        find = partial(known.session.object_at, encoder=self.runner.encoder)
        return Target(known.editor.layer, find, known.give)

    def _clear_edits(self) -> None:
        known = self._labelled()
        if known is not None:
            known.editor.clear()

    def _count_objects(self) -> None:
        """Divide the labels in view into objects, in a thread."""
        known = self._labelled()
        if known is None or self._counting.busy:
            return
        plane = self.images.plane(known)
        if plane is None:
            self._tell(NO_SLICE)
            return
        labels = known.session.edits.labels[plane].copy()
        self._counting.start(
            partial(_number_objects, labels), partial(self._show_objects, known, plane)
        )
        self._update_buttons()

    def _show_objects(
        self, known: Labelled, plane: tuple[int, ...], numbered: Future[np.ndarray]
    ) -> None:
        self._update_buttons()
        objects = numbered.result()
        if known.image in self.viewer.layers:
            count = int(objects.max())
            self._status.setText("1 object" if count == 1 else f"{count} objects")
            self.images.show_objects(known, plane, objects)  # last: it processes other events

    def _create_children(self) -> None:
        self._run, self._maps = QPushButton("Run"), MapChoice()
        self._box = QPushButton("Box")
        self._box.setCheckable(True)
        self._clear, self._objects = QPushButton("Clear my edits"), QPushButton("Objects")
        self._take_labels = TakeLabelsButton(self.viewer, self._labelled, self._say)
        self._learn = QPushButton("Learn")
        self._learn.setCheckable(True)
        self._ignored, self._status, self._hints = QLabel(), QLabel(), KeyHints(HINTS)
        self._status.setWordWrap(True)
        children = (
            (self._run, "run", RUN),
            (self._box, "box", "Draw a box on the image: the words compete only in it, and all "
             "else stays as it is, until you click this again. Key: W"),
            (self._learn, "learn_strokes", "Learn from my strokes: what you paint teaches the "
             "classes, next to their words, also for the next image; click again for the words "
             "alone"),
            (self._clear, "clear_edits", "Give all pixels that you painted back to the words"),
            (self._objects, "objects", "Number the objects of all classes in a separate layer; "
             "objects that touch are split at their necks, and specks are left out"),
            (self._ignored, "ignored", "No class is sure enough here, or you painted it so; "
             "training leaves these pixels out"),
            (self._status, "status", ""),
        )  # fmt: skip
        for child, name, tooltip in children:
            child.setObjectName(name)
            child.setToolTip(tooltip)

    def _lay_out(self) -> None:
        fold = QCollapsible("Advanced")
        fold.setObjectName("advanced")
        fold.setToolTip("Which part of the image is labelled, and how")
        fold.addWidget(self.advanced)
        more = _line(self._objects, self._take_labels, self._clear)
        start = _line(self._run, self._box, self._learn)
        start.layout().setStretch(0, 1)
        layout = QVBoxLayout(self)
        for title, children in (
            ("1  Image", (self.picker, self.models)),
            ("2  Words", (self.table, self._ignored)),
            ("3  Label", (start, self._status, self._maps, more)),
        ):
            group = QGroupBox(title)
            lines = QVBoxLayout(group)
            for child in children:
                lines.addWidget(child)
            layout.addWidget(group, int(self.table in children))
        layout.addWidget(fold)
        layout.addWidget(self._hints)

    def _connect(self) -> None:
        self._run.clicked.connect(self._run_or_cancel)
        self._box.clicked.connect(self.box.toggle)
        self.box.drawn.connect(self._run_in_box)
        self.box.changed.connect(self._box.setChecked)
        self.box.changed.connect(self._pause.start)  # without it, words reach all of the image
        self._learn.toggled.connect(lambda _: self._pause.start())
        self.images.stroke_ended.connect(self._follow_strokes)
        self.images.layer_added.connect(self._let_keys_work)
        self.table.saved.connect(self._save_learned)
        self.table.loaded.connect(self._load_learned)
        self._clear.clicked.connect(self._clear_edits)
        self._objects.clicked.connect(self._count_objects)
        self.table.prompts_changed.connect(self.painted.follow)
        self.table.prompts_changed.connect(self._keep_choices)
        self.table.looks_changed.connect(self._keep_choices)
        self.models.model_changed.connect(self._keep_choices)
        self.table.prompts_changed.connect(self._pause.start)
        self.table.prompts_changed.connect(self._show_threshold)
        self.table.prompts_changed.connect(self._show_ignored)
        self.images.stroke_ended.connect(self._show_ignored)
        self._pause.timeout.connect(self._follow_words)
        self.table.looks_changed.connect(self._restyle)
        self.models.model_changed.connect(self._explain_background)
        self.advanced.ignore_below_changed.connect(self.table.set_ignore_below)
        self._maps.changed.connect(self._show_maps)
        self.table.selection_changed.connect(self._show_maps)
        self.picker.image_changed.connect(self._update_buttons)
        self.picker.image_changed.connect(self._let_keys_work_over_image)
        self.picker.image_changed.connect(self._pause.start)  # its labels may be outdated
        self.picker.source_gone.connect(self.runner.encoder.forget)
        self.picker.source_gone.connect(self._stop_if_gone)
        self.viewer.dims.events.current_step.connect(self._show_maps)
        self._camera.events.connect(self._start_moving)
        self._moving.timeout.connect(self._show_maps)
        self.viewer.layers.events.removed.connect(self._update_buttons)
        self.viewer.layers.selection.events.active.connect(self._choose_image_of)
        self.runner.labelled.connect(self._show)
        self.runner.progressed.connect(self._show_progress)
        self.runner.running_changed.connect(self._show_running)
        self.runner.failed.connect(self._show_failure)

    def _explain_background(self) -> None:
        model = find_model(self.models.model_name())
        # with heads, MaskCLIP has objectness, too
        self.table.explain_background("objectness" if self.models.heads() else model.background)

    def _show_threshold(self) -> None:
        self.advanced.set_ignore_below(self.table.ignore_below())

    def _show_ignored(self) -> None:
        """Tell the colour of ignored pixels, if there can be any."""
        prompts, below = self.table.prompt_set(), self.table.ignore_below()
        painted = prompts is not None and prompts.ignore in self.painted.numbers()
        self._ignored.setVisible(prompts is not None and (below > 0 or painted))
        if prompts is not None:
            why = f": confidence below {below:g}" if below else ""
            swatch = f"<span style='color: {IGNORE_COLOR}'>■</span>"
            self._ignored.setText(f"{swatch} ignored ({prompts.ignore}){why}")

    def _update_buttons(self, *_: Any) -> None:
        running = self.runner.request is not None
        self._run.setText("Cancel" if running else "Run")
        self._run.setToolTip(CANCEL if running else RUN)
        labelled = self._labelled() is not None
        for child in (self._clear, self._take_labels, self._maps):
            child.setEnabled(labelled)
        self._objects.setEnabled(labelled and not self._counting.busy)
        self._hints.setVisible(labelled)

    def _show_running(self, running: bool) -> None:
        from napari.utils import progress

        if self._activity is not None:
            self._activity.close()
        self._activity = progress(total=0, desc="DINOiser") if running else None
        if not running:
            self._running_on = None  # it would keep an image in memory that is deleted
        self._status.setText("Starting" if running else "")
        self.models.refresh()  # a first run may have downloaded weights
        self._update_buttons()

    def _show_progress(self, doing: str, done: int, total: int) -> None:
        self._status.setText(f"{doing}: {done} of {total}" if total else doing)
        activity = self._activity
        if activity is not None:
            activity.total, activity.n = total, done
            activity.set_description(doing)  # last: it redraws and processes other events

    def _show_failure(self, error: Exception) -> None:
        if not isinstance(error, DinoiserError):
            raise error  # napari shows it with its traceback
        self._say(str(error))

    def _tell(self, sentence: str) -> None:
        self._status.setText(sentence)

    def _say(self, sentence: str) -> None:
        """Say a problem: in napari's notification, which is short, and whole in the tab."""
        from napari.utils.notifications import show_error

        show_error(sentence)
        self._tell(sentence)


def _number_objects(labels: np.ndarray) -> np.ndarray:
    """Divide labels into objects, in a thread."""
    from dinoiser.export import ExportOptions
    from dinoiser.export.regions import number_objects

    return number_objects(labels, ExportOptions(instances=True, min_area=SPECK))


def _neighbour(path: str) -> Path:
    """Return the file beside a prompt file that holds what was learnt."""
    return Path(path).with_suffix(".learned.safetensors")


def _line(*children: QWidget) -> QWidget:
    """Lay children out side by side."""
    line = QWidget()
    layout = QHBoxLayout(line)
    layout.setContentsMargins(0, 0, 0, 0)
    for child in children:
        layout.addWidget(child)
    return line
