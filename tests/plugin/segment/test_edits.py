"""The ledger behind a real Labels layer: tools, undo and results at any moment, in any order.

A second, plain Labels layer says which pixels a tool touches; a plain array says what each pixel
should show: the label that its user gave it last, or else what the words say now.
"""

import tracemalloc
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from napari.layers import Labels
from napari.layers.labels._labels_mouse_bindings import draw

from napari_dinoiser.segment.edits import FREE, Edits
from napari_dinoiser.segment.label_editor import LabelEditor
from napari_dinoiser.segment.parts import Part
from napari_dinoiser.segment.session import Session
from tests.helpers.series import cases

HEIGHT, WIDTH, LABELS = 14, 18, 5
NOBODY = -1

labels = st.integers(0, LABELS - 1)
spots = st.tuples(st.integers(0, HEIGHT - 1), st.integers(0, WIDTH - 1))
results = st.integers(0, 2**16)


class Painting(RuleBasedStateMachine):
    """Random events, and what each pixel should show after them."""

    stack = ()

    def __init__(self):
        super().__init__()
        self.shape = (*self.stack, HEIGHT, WIDTH)
        self.session = Session(self.shape)
        self.layer = Labels(self.session.edits.labels)
        self.editor = LabelEditor(self.layer, self.session)
        self.said = np.zeros(self.shape, int)
        self.mine = np.full(self.shape, NOBODY)
        self.before, self.after = [], []

    @property
    def shown(self):
        return np.where(self.mine == NOBODY, self.said, self.mine)

    # ---- the model -----------------------------------------------------------------------------

    def take(self, seed, region=None):
        random = np.random.default_rng(seed)
        plane = tuple(int(random.integers(length)) for length in self.stack)
        rows, columns = region or (slice(0, HEIGHT), slice(0, WIDTH))
        size = (rows.stop - rows.start, columns.stop - columns.start)
        # blobs, so that a bucket fills some of them
        blobs = random.integers(0, LABELS, (-(-size[0] // 6), -(-size[1] // 6)), np.uint8)
        new = blobs.repeat(6, 0).repeat(6, 1)[: size[0], : size[1]]
        self.session.edits.propose(Part(plane, rows, columns), new)
        self.said[(*plane, rows, columns)] = new

    @rule(seed=results)
    def words(self, seed):
        self.take(seed)

    @rule(seed=results, one=spots, other=spots)
    def region(self, seed, one, other):
        spans = [slice(min(pair), max(pair) + 1) for pair in zip(one, other, strict=True)]
        self.take(seed, spans)

    # ---- the user ------------------------------------------------------------------------------

    def stroke(self, label, touched, act):
        """Do something that the user can undo."""
        before = self.mine.copy()
        act()
        self.mine[touched] = label
        self.remember(before)

    def remember(self, before):
        if (self.mine != before).any():
            self.before.append(before)
            self.after.clear()

    def drawn(self, layer, places, mode, middle=None):
        """Draw on a layer with the mouse."""
        layer.mode = mode
        event = SimpleNamespace(
            type="mouse_press", view_direction=None, button=1, dims_point=self.point(places[0]),
            dims_displayed=list(range(len(self.shape)))[-2:], position=self.point(places[0]),
        )  # fmt: skip
        drawing = draw(layer, event)
        next(drawing)
        for place in places[1:]:
            event.type, event.position = "mouse_move", self.point(place)
            next(drawing)
            if middle:
                middle = middle()
        event.type = "mouse_release"
        next(drawing, None)

    def point(self, place):
        return (*(0.0 for _ in self.stack), *map(float, place))

    def plain(self, data):
        layer = Labels(data)
        for name in ("brush_size", "contiguous", "n_edit_dimensions"):
            setattr(layer, name, getattr(self.layer, name))
        return layer

    def touched(self, use):
        """Let a tool paint on an empty layer."""
        layer = self.plain(np.zeros(self.shape, np.uint8))
        layer.selected_label = 1
        use(layer)
        return layer.data != 0

    @rule(label=labels, places=st.lists(spots, min_size=1, max_size=4), size=st.integers(1, 9),
          erase=st.booleans(), seed=st.none() | results)  # fmt: skip
    def brush(self, label, places, size, erase, seed):
        self.layer.brush_size, self.layer.selected_label = size, label
        touched = self.touched(lambda layer: self.drawn(layer, places, "paint"))
        middle = None if seed is None else lambda: self.take(seed)
        mode = "erase" if erase else "paint"
        act = lambda: self.drawn(self.layer, places, mode, middle)  # noqa: E731
        self.stroke(0 if erase else label, touched, act)

    @rule(label=labels, corners=st.lists(spots, min_size=3, max_size=5, unique=True))
    def polygon(self, label, corners):
        if self.layer.n_edit_dimensions != 2:
            return  # napari's polygons are flat
        points = [self.point(corner) for corner in corners]
        touched = self.touched(lambda layer: layer.paint_polygon(points, 1))
        self.stroke(label, touched, lambda: self.layer.paint_polygon(points, label))

    @rule(label=labels, place=spots, everywhere=st.booleans())
    def bucket(self, label, place, everywhere):
        self.layer.contiguous = not everywhere
        self.layer.selected_label = label
        plain = self.plain(self.shown.astype(np.uint8))
        plain.selected_label = label
        self.drawn(plain, [place], "fill")
        touched = plain.data != self.shown
        self.stroke(label, touched, lambda: self.drawn(self.layer, [place], "fill"))

    @rule(label=labels, places=st.lists(spots, min_size=2, max_size=3), seed=st.none() | results,
          finished=st.booleans())  # fmt: skip
    def encircle(self, label, places, seed, finished):
        if not hasattr(self.layer, "_begin_stroke"):
            return  # napari before 0.9
        self.layer.mode = "paint"
        points = [np.array(self.point(place)) for place in places]
        touched = self.touched(lambda layer: self.along(layer, 1, points))
        before = self.mine.copy()
        self.layer._begin_stroke()
        self.along(self.layer, label, points)
        if seed is not None:
            self.take(seed)
        if finished:
            self.layer._commit_stroke()
            self.mine[touched] = label
        else:
            self.layer._abort_stroke()
        self.remember(before)

    def along(self, layer, label, points):
        layer.mode = "paint"
        for one, other in pairwise(points):
            layer._draw(label, one, other)

    @rule()
    def undo(self):
        self.layer.undo()
        if self.before:
            self.after.append(self.mine)
            self.mine = self.before.pop()

    @rule()
    def redo(self):
        self.layer.redo()
        if self.after:
            self.before.append(self.mine)
            self.mine = self.after.pop()

    @rule()
    def clear(self):
        everything = np.ones(self.shape, bool)
        self.stroke(NOBODY, everything, self.editor.clear)

    # ---- classes -------------------------------------------------------------------------------

    @rule(label=labels)
    def give_back(self, label):
        act = lambda: self.session.edits.give_back([label])  # noqa: E731
        self.stroke(NOBODY, self.mine == label, act)

    @rule(label=labels, other=labels)
    def another_class(self, label, other):
        act = lambda: self.session.edits.repaint(label, other)  # noqa: E731
        self.stroke(other, self.mine == label, act)

    @rule(one=labels, other=labels)
    def renumber(self, one, other):
        """Two classes change their places."""
        self.session.edits.renumber({one: other, other: one})
        swap = {one: other, other: one}
        table = np.array([swap.get(label, label) for label in range(LABELS)] + [NOBODY])
        self.mine = table[self.mine]  # the last entry is at -1
        self.before = [table[mine] for mine in self.before]
        self.after = [table[mine] for mine in self.after]

    # ---- what must be true ---------------------------------------------------------------------

    @invariant()
    def every_pixel_is_the_users_or_else_the_models(self):
        np.testing.assert_array_equal(self.layer.data, self.shown)
        np.testing.assert_array_equal(self.session.edits.owners == FREE, self.mine == NOBODY)

    @invariant()
    def the_labels_in_use_are_known(self):
        held = {int(label) for label in np.unique(self.mine)} - {NOBODY}
        assert held <= self.session.edits.used_labels


class PaintingAStack(Painting):
    """The same on a stack, of which one plane is shown, with brushes that reach over planes."""

    stack = (3,)

    @rule(axes=st.sampled_from([2, 3]))
    def reach(self, axes):
        self.layer.n_edit_dimensions = axes


TestPainting, TestPaintingAStack = Painting.TestCase, PaintingAStack.TestCase
TestPainting.settings = TestPaintingAStack.settings = cases(8, stateful_step_count=50)


def test_a_stroke_over_a_whole_photograph_is_kept_in_little_memory():
    edits = Edits(np.zeros((2000, 3000), np.uint8))
    everything = (slice(None), slice(None))
    tracemalloc.start()
    for label in range(1, 11):
        before = edits.labels.copy()
        edits.labels[...] = label
        edits.paint(everything, np.ones(before.shape, bool), before)
    del before
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 10 * edits.labels.nbytes / 7
    for _ in range(10):
        edits.undo()
    assert not edits.labels.any()
