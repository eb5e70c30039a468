"""Keeping torch's compiler and the OpenGL driver apart."""

from __future__ import annotations

import os
import sys


def import_triton() -> None:
    """Import triton before torch asks for it, bound to its own LLVM.

    Mesa's OpenGL drivers bring a libLLVM of their own. A triton that is loaded
    after it, as in napari, finds some of that library's symbols in the place
    of its own, and the process dies. Call this before torch is first imported
    in a process with a window; it does nothing where there is no triton.
    """
    if sys.platform != "linux" or "triton" in sys.modules:
        return
    flags = sys.getdlopenflags()
    sys.setdlopenflags(flags | os.RTLD_DEEPBIND)
    try:
        import triton  # noqa: F401
    except ImportError:
        pass  # torch without CUDA has none, and needs none
    finally:
        sys.setdlopenflags(flags)
