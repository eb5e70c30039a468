"""Call a function in a thread of its own."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def in_thread(function: Callable, *arguments: Any) -> Future:
    """Call a function in a new thread that ends with it."""
    pool = ThreadPoolExecutor(1, thread_name_prefix="dinoiser")
    future = pool.submit(function, *arguments)
    pool.shutdown(wait=False)
    return future
