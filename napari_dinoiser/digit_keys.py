"""Digits on the keyboard, whatever Shift and the layout make of them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt

if TYPE_CHECKING:
    from qtpy.QtGui import QKeyEvent

_MAC = {0x12: 1, 0x13: 2, 0x14: 3, 0x15: 4, 0x17: 5, 0x16: 6, 0x1A: 7, 0x1C: 8, 0x19: 9, 0x1D: 0}
"""Virtual keys of the row of digits."""


def digit_of(event: QKeyEvent) -> int | None:
    """Return the digit of a key; None if the key has none.

    With Shift, most layouts type another character ("!" for 1), and some type
    digits only with Shift. Which key it is, the system tells in its own way.
    Where a digit's key types "/" with Shift, as on German keyboards, it is a
    slash, which searches a class.
    """
    if event.key() == Qt.Key.Key_Slash:
        return None
    if Qt.Key.Key_0 <= event.key() <= Qt.Key.Key_9:
        return int(event.key()) - int(Qt.Key.Key_0)
    if sys.platform == "darwin":
        return _MAC.get(event.nativeVirtualKey())
    if sys.platform == "win32":
        key = event.nativeVirtualKey()
        return key - 0x30 if 0x30 <= key <= 0x39 else None
    code = event.nativeScanCode() - 9  # X11 and Wayland: 10 for 1 to 19 for 0
    return code % 10 if 1 <= code <= 10 else None
