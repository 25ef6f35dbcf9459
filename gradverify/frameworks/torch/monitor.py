"""Two norms a layer and step, by hooks on the modules that have weights of their own; read to the host in one piece.

What a hook costs in a small network is not the arithmetic but each call from and into Python. So a layer that behaves
calmly is only told to keep its gradient (`Tensor.retain_grad`, which no Python runs for), and all norms of a step are
taken in one call when the next one begins. Calm is a layer whose first step was one small output that nobody wrote into
afterwards, as ``nn.ReLU(inplace=True)`` does. All others have their norms taken at once, by a hook each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from gradverify.frameworks.torch.flow import WHOLE

MISSING = -1.0  # no size is negative; NaN is what a broken step has
FLUSHED = 64  # steps that wait on the device: a few numbers a layer each
SMALL = 2**15  # entries: larger outputs are not kept until the next step
NARROW = (torch.float16, torch.bfloat16)  # whose squares would overflow

Norms: TypeAlias = tuple[int, list[int], Sequence[Tensor], list[int]]  # step; columns, norms, numbers of entries
Kept: TypeAlias = tuple[Tensor, int]  # a tensor and the version that it had


@dataclass
class Steps:
    """What was seen: norms on the device, tables of the steps before, and outputs that keep their gradient.

    A column is a layer's output, or behind all of these dL/d output; mean squares of a layer that is called again are
    added. `kept` are the outputs of this step, by the columns of `calm` layers; `on_trial` is what the others gave and
    received in their first. A step is `spoilt` if somebody wrote into an output of a calm layer, and is not counted.
    """

    layers: tuple[str, ...]
    step: int = -1
    first: int = 0
    backwards: bool = True
    last: Tensor = field(default_factory=lambda: torch.zeros(()))
    kept: dict[int, Kept] = field(default_factory=dict)
    on_trial: dict[int, list[Kept]] = field(default_factory=dict)
    known: set[int] = field(default_factory=set)
    calm: set[int] = field(default_factory=set)
    norms: list[Norms] = field(default_factory=list)
    done: list[np.ndarray] = field(default_factory=list)
    spoilt: set[int] = field(default_factory=set)

    def hook(self, column: int) -> Callable[[nn.Module, Any, Any], None]:
        """What to register as a forward hook of the layer of this column."""
        kept, calm, wrapped = self.kept, self.calm, torch._C._functorch.is_functorch_wrapped_tensor  # noqa: SLF001

        def forward(_: nn.Module, args: Any, y: Any) -> None:
            if type(y) is not Tensor:
                y = y[0] if isinstance(y, tuple) and y else y
                if not isinstance(y, Tensor):
                    return
            if y.is_leaf and not y.requires_grad:
                return
            # A forward after a backward pass begins a step.
            if self.backwards or (kept and (column in kept or self.last.grad is not None) and self._went_back()):
                self._begin()
            if column in calm and column not in kept and not y.is_leaf and not wrapped(y):
                y.retain_grad()
                kept[column] = y, y._version  # noqa: SLF001
                self.last = y
            else:
                self._take(column, self.step, y)

        return forward

    def _went_back(self) -> bool:
        """Whether a backward pass has reached any output that is kept."""
        return any(y.grad is not None for y, *_ in self.kept.values())

    def _take(self, column: int, step: int, y: Tensor) -> None:
        """A norm at once, and that of the gradient when it comes; an output kept before goes the same way."""
        if column in self.kept:
            self.calm.discard(column)
            self._take(column, step, self.kept.pop(column)[0])
        self._seen(column, step, column, y.detach())
        y.register_hook(partial(self._came_back, column, step))

    def _came_back(self, column: int, step: int, g: Tensor) -> None:
        self.backwards = True
        self._seen(column + len(self.layers), step, column, g)

    def _seen(self, at: int, step: int, column: int, a: Tensor) -> None:
        self.norms.append((step, [at], [torch.linalg.vector_norm(_wide(a))], [a.numel()]))
        if column not in self.known and a.numel() <= SMALL and len(self.on_trial.setdefault(column, [])) < 3:
            self.on_trial[column].append((a, _version(a)))

    def _begin(self) -> None:
        self.settle()
        if self.on_trial:
            self._try()
        if self.step - self.first >= FLUSHED - 1:
            self.done.append(self._table(self.norms))
            self.norms.clear()
            self.first = self.step + 1
        self.step += 1
        self.backwards = False

    def _try(self) -> None:
        """Which of the layers that are new were calm in the step that ends here."""
        for column, seen in self.on_trial.items():
            self.known.add(column)
            if len(seen) == 2 and all(_version(a) == version for a, version in seen):
                self.calm.add(column)
        self.on_trial.clear()

    def settle(self) -> None:
        """Let go of the outputs that are kept: what has not got its gradient gets a hook, should one still come."""
        if not self.kept:
            return
        self.norms.append(self._kept_norms())
        for column, (y, version) in self.kept.items():
            if y._version != version:  # noqa: SLF001
                self.calm.discard(column)
                self.spoilt.add(self.step)
            if y.grad is None:
                y.register_hook(partial(self._came_back, column, self.step))
            elif y.numel() > SMALL:
                self.calm.discard(column)
        self.kept.clear()

    def _kept_norms(self) -> Norms:
        """Of all outputs kept and their gradients, in one call."""
        tensors, columns, behind = [y for y, _ in self.kept.values()], list(self.kept), len(self.layers)
        for column, y in zip(columns[:], tensors[:], strict=True):
            if y.grad is not None:
                tensors.append(y.grad)
                columns.append(column + behind)
        return self.step, columns, _norms(tensors), [a.numel() for a in tensors]

    def read(self) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
        """The layers and both tables, of the steps whose backward pass has begun."""
        n = len(self.layers)
        table = np.concatenate([*self.done, self._table([*self.norms, self._kept_norms()])])
        activation, delta = table[:, :n], table[:, n:]
        seen, used = (delta != MISSING).any(axis=1), (activation != MISSING).any(axis=0)
        names = tuple(name for name, there in zip(self.layers, used, strict=True) if there)
        return names, *(np.where(half == MISSING, 0.0, half)[seen][:, used] for half in (activation, delta))

    def _table(self, norms: Sequence[Norms]) -> np.ndarray:
        """Root mean squares since the last table, or that a layer had no part in a step."""
        table = np.full((self.step + 1 - self.first, 2 * len(self.layers)), MISSING)
        counted = [n for n in norms if n[0] >= self.first and n[0] not in self.spoilt]
        if counted:
            found, sizes = [norm for n in counted for norm in n[2]], [size for n in counted for size in n[3]]
            steps = np.repeat([n[0] for n in counted], [len(n[1]) for n in counted]) - self.first
            at = steps, np.array([each for n in counted for each in n[1]])
            table[at] = 0.0
            np.hypot.at(table, at, _host(found) / np.sqrt(np.maximum(sizes, 1)))
        return table


def _version(a: Tensor) -> int:
    """How often somebody has written into it."""
    return a._version  # noqa: SLF001 - the counter by which autograd itself refuses such tensors


def _wide(a: Tensor) -> Tensor:
    return a.float() if a.dtype in NARROW else a


def _norms(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
    """All norms in one call, as `torch.nn.utils.clip_grad_norm_` takes them; left on the device."""
    if not tensors:
        return ()
    before = torch.is_grad_enabled()
    torch._C._set_grad_enabled(False)  # noqa: SLF001 - torch.no_grad() does this in twenty times the time
    try:
        wide = [a.float() if a.dtype in NARROW else a for a in tensors]
        norms: Sequence[Tensor] = torch._foreach_norm(wide)  # noqa: SLF001 - nothing public is it
    finally:
        torch._C._set_grad_enabled(before)  # noqa: SLF001
    return norms


def _host(norms: Sequence[Tensor]) -> np.ndarray:
    """The numbers, in one transfer from each device."""
    devices = [norm.device for norm in norms]
    if len(set(devices)) == 1:
        return np.array(torch.stack(list(norms)).tolist())
    found = np.empty(len(norms))
    for device in set(devices):
        here = [k for k, own in enumerate(devices) if own == device]
        found[here] = torch.stack([norms[k] for k in here]).tolist()
    return found


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
        for column, (_, module) in enumerate(_weighted(network)):
            stack.callback(module.register_forward_hook(steps.hook(column)).remove)
        stack.callback(steps.settle)
        return stack.close

    return begin
