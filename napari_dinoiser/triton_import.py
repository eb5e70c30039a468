"""Keep torch's compiler and the OpenGL driver apart, and the window alive while torch loads."""

from __future__ import annotations

import ctypes
import os
import sys
from importlib.util import find_spec
from pathlib import Path


def import_triton() -> None:
    """Import triton before torch asks for it, bound to its own LLVM.

    Mesa's OpenGL drivers load their own libLLVM. If triton is loaded later, as
    in napari, some of its symbols resolve to that library instead of its own,
    and the process crashes. Call this before torch is first imported in a
    process with a window. Without triton, it does nothing but load torch's
    libraries, so that the window does not stand still while torch is imported.
    """
    if sys.platform != "linux" or "triton" in sys.modules:
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | os.RTLD_DEEPBIND)
    try:
        import triton  # noqa: F401
    except ImportError:
        pass  # torch without CUDA comes without triton and does not need it
    finally:
        sys.setdlopenflags(flags)
    _load_unlocked("torch", "lib/libtorch.so")


def _load_unlocked(package: str, library: str) -> None:
    """Load a package's library without Python's lock, which importing the package would hold."""
    spec = find_spec(package)
    if spec is not None and spec.origin is not None:
        path = Path(spec.origin).parent / library
        # unlike ctypes.CDLL, a call of a C function gives up the lock; errors come with the import
        ctypes.CDLL(None).dlopen(os.fsencode(path), os.RTLD_NOW)
