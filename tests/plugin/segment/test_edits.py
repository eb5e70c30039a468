"""What a person sets and what the model proposes, on any order of events."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_dinoiser.segment.edits import Edits
from napari_dinoiser.segment.parts import Part
from tests.helpers.series import cases

SIZE = (6, 7)
WHOLE = Part((), slice(0, 6), slice(0, 7))
spots = st.sets(st.tuples(st.integers(0, 5), st.integers(0, 6)), max_size=12)
strokes = st.tuples(st.just("stroke"), spots, st.integers(0, 5))
events = st.lists(
    st.one_of(
        strokes,
        st.tuples(st.just("model"), st.integers(0, 5), st.none()),
        st.tuples(st.just("undo"), st.none(), st.none()),
        st.tuples(st.just("redo"), st.none(), st.none()),
    ),
    max_size=25,
)


def mask(places):
    touched = np.zeros(SIZE, bool)
    for place in places:
        touched[place] = True
    return touched


class Person:
    """Paints and undoes like a viewer that knows nothing of the model."""

    def __init__(self, labels):
        self.labels, self.done, self.undone = labels, [], []

    def stroke(self, touched, label):
        self.done.append((touched, self.labels[touched].copy(), label))
        self.undone.clear()
        self.labels[touched] = label

    def undo(self):
        if self.done:
            self.undone.append(self.done.pop())
            touched, before, _ = self.undone[-1]
            self.labels[touched] = before

    def redo(self):
        if self.undone:
            self.done.append(self.undone.pop())
            touched, _, label = self.done[-1]
            self.labels[touched] = label


@cases(400)
@given(events)
def test_every_pixel_is_the_last_stroke_over_it_or_else_the_models(happened):
    edits = Edits(np.zeros(SIZE, np.uint8))
    person, said, standing = Person(edits.labels), 0, []
    undone = []
    for kind, first, label in happened:
        if kind == "model":
            said = first
            edits.propose(WHOLE, np.full(SIZE, first, np.uint8))
        elif kind == "stroke":
            person.stroke(mask(first), label)
            edits.end_stroke([(WHOLE, mask(first))])
            standing.append((mask(first), label))
            undone.clear()
        elif kind == "undo" and standing:
            person.undo()
            edits.undo()
            undone.append(standing.pop())
        elif kind == "redo" and undone:
            person.redo()
            edits.redo()
            standing.append(undone.pop())
    painted, expected = np.zeros(SIZE, bool), np.full(SIZE, said)
    for touched, label in standing:
        painted |= touched
        expected[touched] = label
    np.testing.assert_array_equal(edits.locked, painted)
    np.testing.assert_array_equal(edits.labels, expected)
    edits.clear()
    assert (edits.labels == said).all()
    assert not edits.locked.any()


@given(spots, st.integers(1, 5))
def test_a_part_can_be_proposed_alone(places, label):
    edits = Edits(np.zeros((2, *SIZE), np.uint8))
    part = Part((1,), slice(2, 5), slice(1, 4))
    edits.labels[1][mask(places)] = 9
    edits.propose(part, np.full((3, 3), label, np.uint8))
    expected = np.zeros((2, *SIZE), np.uint8)
    expected[part.key] = label
    expected[1][mask(places)] = 9
    np.testing.assert_array_equal(edits.labels, expected)
