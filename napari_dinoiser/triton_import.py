"""Keep torch's compiler and the OpenGL driver apart."""

from __future__ import annotations

import os
import sys


def import_triton() -> None:
    """Import triton before torch asks for it, bound to its own LLVM.

    Mesa's OpenGL drivers load their own libLLVM. If triton is loaded later, as
    in napari, some of its symbols resolve to that library instead of its own,
    and the process crashes. Call this before torch is first imported in a
    process with a window. Without triton, it does nothing.
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
