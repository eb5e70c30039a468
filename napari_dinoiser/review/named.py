"""Widgets with a name, for style sheets and tests, and a tooltip."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

W = TypeVar("W", bound="QWidget")


def named(widget: W, name: str, tooltip: str) -> W:
    """Set the object name and tooltip of a widget, and return it."""
    widget.setObjectName(name)
    widget.setToolTip(tooltip)
    return widget
