"""Keys that work on the canvas while a tab is open."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class KeyBindings:
    """Binds keys to the viewer and layers, and puts back what was bound before.

    napari asks the selected layer before the viewer, so that a layer's own keys
    take precedence over those of a viewer; where keys must work, they are bound
    to both.

    Parameters
    ----------
    keys
        Actions of keys, as napari writes them.
    """

    def __init__(self, keys: Mapping[str, Callable[[], Any]]) -> None:
        self._keys = keys
        # weakly, as layers with large arrays come and go
        self._providers: list[weakref.ref[Any]] = []
        self._bound: list[tuple[weakref.ref[Any], str, Any, Any]] = []
        self._active = False

    def add(self, provider: Any) -> None:
        """Let the keys work in another viewer or layer, too."""
        if any(reference() is provider for reference in self._providers):
            return
        self._providers.append(weakref.ref(provider))
        if self._active:
            self._bind(provider)

    def bind(self) -> None:
        """Bind the keys, unless they are bound."""
        if not self._active:
            self._active = True
            for reference in self._providers:
                if (provider := reference()) is not None:
                    self._bind(provider)

    def release(self) -> None:
        """Put back what was bound before, unless others have bound a key since."""
        # in reverse, so that a key bound twice ends up with its first binding
        for reference, key, own, replaced in reversed(self._bound):
            _RELEASED[own] = replaced
            if (provider := reference()) is not None:
                now = provider.bind_key(key, None, overwrite=True)
                provider.bind_key(key, _still_bound(now), overwrite=True)
        self._bound, self._active = [], False

    def _bind(self, provider: Any) -> None:
        for key, action in self._keys.items():
            own = _without_provider(action)
            replaced = provider.bind_key(key, own, overwrite=True)
            self._bound.append((weakref.ref(provider), key, own, replaced))


_RELEASED: weakref.WeakKeyDictionary[Any, Any] = weakref.WeakKeyDictionary()
"""What each function that was released had replaced: panels release a key in any order."""


def _still_bound(function: Any) -> Any:
    """Return a function, or what it replaced, and so on, if it was released."""
    while function in _RELEASED:
        function = _RELEASED[function]
    return function


def _without_provider(action: Callable[[], Any]) -> Callable[[Any], None]:
    def on_key(_: Any) -> None:
        action()

    return on_key
