"""Two norms a layer and step, by hooks on the modules that have weights of their own; read to the host in one piece."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from gradverify.frameworks.torch.flow import WHOLE
from gradverify.frameworks.torch.tensors import floating

MISSING = -1.0  # no size is negative; NaN is what a broken step has
FLUSHED = 64  # steps that wait on the device: a few numbers a layer each


Row: TypeAlias = dict[str, list[tuple[Tensor, int]]]


@dataclass
class Steps:
    """Norms by step and layer, with the number of entries; mean squares of a layer that is called again are added."""

    layers: tuple[str, ...]
    activation: list[Row] = field(default_factory=list)
    delta: list[Row] = field(default_factory=list)
    done: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    backwards: bool = True

    def went_forward(self, name: str, y: Tensor) -> None:
        """A layer gave y; after a backward pass that begins a step."""
        if self.backwards:
            self._begin()
        self.activation[-1].setdefault(name, []).append(_size(y.detach()))
        y.register_hook(partial(self.came_back, name, len(self.done) * FLUSHED + len(self.delta) - 1))

    def came_back(self, name: str, step: int, g: Tensor) -> None:
        """dL/dy of a layer has been computed."""
        self.backwards = True
        row = step - len(self.done) * FLUSHED
        if 0 <= row < len(self.delta):
            self.delta[row].setdefault(name, []).append(_size(g))

    def _begin(self) -> None:
        if len(self.delta) >= FLUSHED:
            self.done.append((self._host(self.activation), self._host(self.delta)))
            self.activation, self.delta = [], []
        self.activation.append({})
        self.delta.append({})
        self.backwards = False

    def read(self) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
        """The layers and both tables, of the steps whose backward pass has begun."""
        parts = [*self.done, (self._host(self.activation), self._host(self.delta))]
        activation, delta = (np.concatenate(tables) for tables in zip(*parts, strict=True))
        seen, used = (delta != MISSING).any(axis=1), (activation != MISSING).any(axis=0)
        names = tuple(name for name, there in zip(self.layers, used, strict=True) if there)
        return names, *(np.where(table == MISSING, 0.0, table)[seen][:, used] for table in (activation, delta))

    def _host(self, rows: list[Row]) -> np.ndarray:
        """Root mean squares, or that a layer had no part in a step: one transfer for all of them."""
        waiting = [norm for row in rows for sizes in row.values() for norm, _ in sizes]
        values = iter(torch.stack(waiting).tolist() if waiting else ())
        found = [{name: math.hypot(*(next(values) / math.sqrt(n) for _, n in sizes)) for name, sizes in row.items()}
                 for row in rows]
        table = [[row.get(name, MISSING) for name in self.layers] for row in found]
        return np.array(table).reshape(-1, len(self.layers))


def _size(a: Tensor) -> tuple[Tensor, int]:
    """The norm, left where it is, and the number of entries: one operation, and no wait for the device."""
    wide = torch.float32 if a.dtype in (torch.float16, torch.bfloat16) else None  # its squares would overflow
    return torch.linalg.vector_norm(a, dtype=wide), max(a.numel(), 1)


def _weighted(network: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules with parameters of their own, and those that are watched as a whole."""
    for name, module in network.named_modules():
        inside = any(isinstance(network.get_submodule(name.rsplit(".", k)[0]), WHOLE)
                     for k in range(1, name.count(".") + 1))
        own = any(True for _ in module.parameters(recurse=isinstance(module, WHOLE)))
        if own and not inside:
            yield name or type(module).__name__, module


def make_steps(network: nn.Module) -> tuple[Steps, str]:
    """Nothing seen yet, and the dtype that the network computes in."""
    layers = tuple(name for name, _ in _weighted(network))
    if not layers:
        raise TypeError(f"nothing to monitor: {type(network).__name__} has no parameters")
    return Steps(layers), str(next(network.parameters()).dtype).removeprefix("torch.")


def watching(network: nn.Module) -> Callable[[Steps], Callable[[], None]]:
    """Hooks that fill the steps, and what takes them away."""

    def begin(steps: Steps) -> Callable[[], None]:
        stack = ExitStack()
        for name, module in _weighted(network):
            stack.callback(module.register_forward_hook(partial(_seen, steps, name)).remove)
        return stack.close

    return begin


def _seen(steps: Steps, name: str, module: nn.Module, args: Any, y: Any) -> None:
    main = y[0] if isinstance(y, tuple) and y else y
    if floating(main) and main.requires_grad:
        steps.went_forward(name, main)
