"""What keys do to a Labels layer, in the Segment and the Review tab alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.layers import Labels

OUTLINE = 2
"""Width of outlines in screen pixels."""
OPACITY_STEP = 0.1
SEARCH_KEYS = ("/", "Shift-/")
"""Search a class to paint with; on many keyboards, such as German ones, / is typed with Shift."""


def paint_with(labels: Labels, label: int) -> None:
    """Choose the label to paint with, and take the brush unless another tool paints already."""
    labels.selected_label = label
    if not labels.visible:  # nobody can paint on what is hidden
        labels.visible = True
    if labels.mode in ("pan_zoom", "transform", "erase", "pick"):
        labels.mode = "paint"


def toggle_outlines(labels: Labels) -> None:
    """Show outlines instead of areas, or areas again."""
    labels.contour = 0 if labels.contour else OUTLINE


def more_opaque(labels: Labels) -> None:
    """Let less of the image shine through."""
    labels.opacity = min(1.0, labels.opacity + OPACITY_STEP)


def less_opaque(labels: Labels) -> None:
    """Let more of the image shine through."""
    labels.opacity = max(0.0, labels.opacity - OPACITY_STEP)


def toggle_selected_only(labels: Labels) -> None:
    """Show only the class to paint with, or all of them again."""
    labels.show_selected_label = not labels.show_selected_label


DISPLAY_KEYS = {
    "O": toggle_outlines,
    "[": less_opaque,
    "]": more_opaque,
    "I": toggle_selected_only,
}
"""Keys that change how labels look, and what each does to the layer."""
