"""How the tests drive the Segment tab, and what they look at."""

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton

from dinoiser.evaluation.metrics import ConfusionMatrix


def child(widget, kind, name):
    found = widget.findChild(kind, name)
    assert found is not None, name
    return found


def click(widget, qtbot, name):
    qtbot.mouseClick(child(widget, QPushButton, name), Qt.MouseButton.LeftButton)


def labels_layers(viewer):
    return [layer for layer in viewer.layers if isinstance(layer, Labels)]


def layer_of(viewer):
    (layer,) = labels_layers(viewer)
    return layer


def mean_iou(labels, scene, names):
    ids = {name: number for number, name in enumerate(names)}
    truth = np.array([ids[name] for name in ("background", *scene.names)], np.uint8)[scene.labels]
    matrix = ConfusionMatrix(names)
    matrix.add(labels, truth)
    ious = matrix.by_class()
    return np.mean([ious[name] for name in ("background", *scene.names)])
