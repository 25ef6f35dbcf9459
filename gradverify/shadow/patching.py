"""A listener in the place of a function, in every module that holds it, now or after a later import.

The function is replaced in its defining module as soon as that has run, before anyone can write
``from there import it``; of modules loaded earlier, each global that is the function itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from gradverify.shadow.checkers import CHECKERS, Checker

Wrap = Callable[[Checker, Any], Any]


class Patches:
    """The replacements made so far, and the hook that makes those of modules still to come."""

    def __init__(self, wrap: Wrap, checkers: Sequence[Checker] = CHECKERS) -> None:
        self.wrap, self.checkers = wrap, checkers
        self.made: list[tuple[Any, Any]] = []

    def install(self) -> None:
        """Replace what is loaded, and wait for the rest."""
        sys.meta_path.insert(0, self)
        for name in {checker.module for checker in self.checkers}:
            if name in sys.modules:
                self.patch(sys.modules[name])

    def remove(self) -> None:
        """Every place holds the function itself again."""
        sys.meta_path.remove(self)
        while self.made:
            original, listener = self.made.pop()
            _replace(listener, original)

    def patch(self, module: ModuleType) -> None:
        """Replace the functions that this module defines, wherever they are held."""
        for checker in self.checkers:
            original = vars(module).get(checker.name)
            if checker.module == module.__name__ and callable(original):
                listener = self.wrap(checker, original)
                self.made.append((original, listener))
                _replace(original, listener)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """As the other finders; a module that defines a checker is patched once it has run."""
        if not any(checker.module == name for checker in self.checkers):
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            self._follow(spec.loader)
        return spec

    def _follow(self, loader: Any) -> None:
        run = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            self.patch(module)

        with suppress(AttributeError):  # a loader with slots: its module stays as it is
            loader.exec_module = exec_module


def _replace(old: Any, new: Any) -> None:
    for module in tuple(sys.modules.values()):
        names = vars(module) if isinstance(module, ModuleType) else {}
        for name in [name for name, value in tuple(names.items()) if value is old]:
            names[name] = new
