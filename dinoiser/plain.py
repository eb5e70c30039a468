"""Settings hold Python's own numbers, as files and other programs know no others."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def make_plain(settings: DataclassInstance) -> None:
    """Replace NumPy's numbers in the fields of a dataclass, such as those of a sweep."""
    for field in fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, np.generic):
            object.__setattr__(settings, field.name, value.item())
