"""Permissions, in tests that may be run by root."""

import os
from contextlib import contextmanager


@contextmanager
def as_ordinary_user():
    """Give up the rights of root, whom permissions do not bind."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)
