"""A user's object at other values of its parameters: a copy each time, everything else as it was."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from gradverify.arrays import Arrays
from gradverify.targets.calling import as_leaf
from gradverify.targets.graph import arrays_of, clone, fetch, floating_of
from gradverify.targets.record import Perturb


@dataclass(frozen=True)
class Held:
    """An object and its parameters: the path of each -> the path of its gradient, None where that is returned."""

    obj: Any
    params: Mapping[str, str | None]

    @cached_property
    def own(self) -> Arrays:
        """The parameters as the user's object holds them."""
        return {path: fetch(self.obj, path) for path in self.params}

    def instance(self, point: Mapping[str, Any], *, fresh: bool = False) -> Any:
        """A copy with these values, its stored gradients zero; `fresh` arrays are nobody else's and are not copied."""
        values = {
            path: point[path] if fresh else as_leaf(point[path], array.dtype) for path, array in self.own.items()
        }
        replaced = {id(array): values[path] for path, array in self.own.items()}
        if self._looked_into:
            return self._written(replaced)
        return clone(self.obj, {**self._zeros(), **replaced})

    @cached_property
    def _looked_into(self) -> bool:
        """Whether another array of the object looks into a parameter's memory, and has to see what is put there."""
        return share_memory(self.obj, self.own.values())

    @cached_property
    def _gradients(self) -> list[np.ndarray]:
        present = arrays_of(self.obj)
        found = [present[slot] for slot in self.params.values() if slot is not None and slot in present]
        return [g for g in found if g.flags.writeable]

    def _zeros(self) -> dict[int, np.ndarray]:
        # A layer that adds into its gradients starts from zero, as after the user's own zero_grad.
        return {id(g): np.zeros_like(g) for g in self._gradients}

    def _written(self, replaced: Mapping[int, Any]) -> Any:
        """A copy at the new values, through views as well.

        Values of the array's own kind are written in place for the moment of the copy; arrays of another
        arithmetic replace every reference.
        """
        native = {k: v for k, v in replaced.items() if isinstance(v, np.ndarray)}
        foreign = {k: v for k, v in replaced.items() if k not in native}
        saved = {path: array.copy() for path, array in self.own.items()}
        try:
            for array in self.own.values():
                if id(array) in native:
                    array[...] = native[id(array)]
            return clone(self.obj, {**self._zeros(), **foreign})
        finally:
            for path, array in self.own.items():
                array[...] = saved[path]

    def perturb_residuals(self, layer: Any, perturb: Perturb) -> None:
        """Move whatever the forward left in `layer`, its parameters too; gradients are no residuals."""
        for path, array in floating_of(layer).items():
            if array.flags.writeable and path not in self.params.values():
                array[...] = perturb(array)


def share_memory(obj: Any, arrays: Iterable[np.ndarray]) -> bool:
    """Whether any two of these arrays, or one of them and another array that a copy of `obj` holds, may share memory.

    What a copy holds is asked of `copy.deepcopy` itself, which keeps every array it has met alive in its memo.
    """
    own = {id(array): array for array in arrays}
    memo: dict[int, Any] = dict(own)
    copy.deepcopy(obj, memo)
    met: list[Any] = memo.get(id(memo), [])
    roots = [_root(array) for array in own.values()]
    others = {id(_root(x)) for x in met if isinstance(x, np.ndarray)}
    apart = all(isinstance(root, np.ndarray) for root in roots) and len({id(root) for root in roots}) == len(roots)
    return not apart or any(id(root) in others for root in roots)


def _root(array: Any) -> Any:
    """Whose memory it is: the array at the end of the chain of views, or a buffer that is no array."""
    while getattr(array, "base", None) is not None:
        array = array.base
    return array
