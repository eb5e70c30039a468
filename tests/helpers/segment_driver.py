"""How the tests drive the Segment tab, and what they look at."""

import numpy as np
from napari.layers import Labels
from qtpy.QtCore import QItemSelectionModel, Qt
from qtpy.QtWidgets import QPushButton, QTableView

from dinoiser.evaluation.metrics import ConfusionMatrix
from napari_dinoiser.own_layers import OWN
from napari_dinoiser.prompts.table_model import Column


def child(widget, kind, name):
    found = widget.findChild(kind, name)
    assert found is not None, name
    return found


def click(widget, qtbot, name):
    qtbot.mouseClick(child(widget, QPushButton, name), Qt.MouseButton.LeftButton)


def select_class(segment, row):
    view = child(segment, QTableView, "prompt_table")
    flags = QItemSelectionModel.SelectionFlag
    index = view.model().index(row, Column.NAME)
    view.selectionModel().setCurrentIndex(index, flags.ClearAndSelect | flags.Rows)


def remove_class(segment, qtbot, row):
    select_class(segment, row)
    click(segment, qtbot, "remove_class")


def add_class(segment, name):
    model = child(segment, QTableView, "prompt_table").model()
    model.append()
    model.setData(model.index(model.rowCount() - 1, Column.NAME), name)


def labels_layers(viewer):
    layers = [layer for layer in viewer.layers if isinstance(layer, Labels)]
    return [layer for layer in layers if layer.visible or OWN not in layer.metadata]


def maps_in_view(viewer):
    layers = [layer for layer in viewer.layers if layer.name.startswith(("confidence", "heat map"))]
    return [layer for layer in layers if layer.visible]


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
