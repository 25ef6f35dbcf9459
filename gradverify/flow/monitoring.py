"""Gradient flow while training goes on: sizes of activations and deltas at every layer and step, for little time.

`check_flow` looks at one point hard; a monitor looks at every step cheaply: two norms a layer, nothing copied to the
host until it is asked for. Verdicts are those of the sizes alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from types import TracebackType
from typing import Any, Self

import numpy as np

from gradverify import sheets
from gradverify.flow.record import Declared, FlowVerdict, Limits
from gradverify.flow.verdict import declared, limits_of
from gradverify.records import Cause, Curve, Figure, Sheet
from gradverify.targets import framework_of


@dataclass(frozen=True)
class FlowHistory:
    """Root mean squares of each layer's output and of dL/d output: a row a step, a column a layer.

    `decades` is log10 of the first layer's delta over the last's, at every step.
    """

    network: str
    layers: tuple[str, ...]
    activation: np.ndarray
    delta: np.ndarray
    optimizer: Declared
    limits: Limits

    @property
    def decades(self) -> np.ndarray:
        """How the gradient's size changes from the last layer to the first; NaN where nothing was sent."""
        with np.errstate(all="ignore"):
            return np.asarray(np.log10(self.delta[:, 0]) - np.log10(self.delta[:, -1]))

    @property
    def verdicts(self) -> tuple[FlowVerdict, ...]:
        """The verdict of every step."""
        finite = np.isfinite(self.activation).all(axis=1) & np.isfinite(self.delta).all(axis=1)
        return tuple(_verdict(d, self.limits) if ok else FlowVerdict.NONFINITE
                     for d, ok in zip(self.decades, finite, strict=True))

    @property
    def verdict(self) -> FlowVerdict:
        """That of the last step."""
        return self.verdicts[-1]

    @property
    def ok(self) -> bool:
        """Whether every step was healthy."""
        return all(verdict is FlowVerdict.HEALTHY for verdict in self.verdicts)

    def sheet(self) -> Sheet:
        """The steps as a table, with the sizes of the gradient through training."""
        columns = ("step", "verdict", "decades", *self.layers)
        table = enumerate(zip(self.verdicts, self.decades, self.delta, strict=True))
        rows = tuple((k, str(v), float(d), *map(float, sizes)) for k, (v, d, sizes) in table)
        found = self._finding()
        said = found[0].text if found else "healthy at every step"
        return Sheet("flow", self.network, str(self.verdict), self.ok, f"{len(rows)} steps: {said}", columns, rows,
                     found, (self._figure(),))

    def _finding(self) -> tuple[Cause, ...]:
        """The first step that is not healthy: what comes after may follow from it."""
        bad = next((k for k, v in enumerate(self.verdicts) if v is not FlowVerdict.HEALTHY), None)
        if bad is None:
            return ()
        name, limits = str(self.verdicts[bad]), self.limits
        evidence = (f"{self.decades[bad]:+.1f} decades; {self.optimizer.name} trains from -{limits.lost:.3g} to "
                    f"+{limits.gained:.3g}")
        return (Cause(name, f"{name} at step {bad}, the first that is not healthy", evidence,
                      "gradverify.check_flow with the weights of that step", 0.8),)

    def _figure(self) -> Figure:
        steps = tuple(map(float, range(len(self.delta))))
        curves = tuple(Curve(name, steps, tuple(map(float, sizes)))
                       for name, sizes in zip(self.layers, self.delta.T, strict=True))
        return Figure("Size of the gradient at each layer", "step", "rms of dL/d output", curves, log_y=True)

    frame = sheets.frame
    to_json = sheets.to_json
    to_html = sheets.to_html
    __str__ = sheets.text
    _repr_html_ = sheets.fragment


def _verdict(decades: float, limits: Limits) -> FlowVerdict:
    if decades > limits.gained:
        return FlowVerdict.EXPLODING
    return FlowVerdict.VANISHING if math.isnan(decades) or decades < -limits.lost else FlowVerdict.HEALTHY


@dataclass
class FlowMonitor:
    """Watches a network while the block runs; `history` says what was seen, at any time."""

    name: str
    optimizer: Declared
    dtype: str
    watch: Callable[[Any], Callable[[], None]]
    steps: Any = None
    _leave: Callable[[], None] | None = field(default=None, repr=False)

    def __enter__(self) -> Self:
        self._leave = self.watch(self.steps)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._leave is not None:
            self._leave()

    def history(self) -> FlowHistory:
        """What has flowed so far; a step counts once its backward pass has begun."""
        layers, activation, delta = self.steps.read()
        if not len(delta):
            raise ValueError(f"{self.name}: no step was seen: run forward and backward inside the block")
        return FlowHistory(self.name, layers, activation, delta, self.optimizer, limits_of(self.optimizer, self.dtype))


def monitor_flow(network: Any, *, optimizer: Any = "sgd") -> FlowMonitor:
    """A context in which every training step of a PyTorch module is watched: sizes by layer and step, and a verdict.

        with gradverify.monitor_flow(model, optimizer=optimizer) as monitor:
            train(model)
        print(monitor.history())

    A step begins with the first forward pass after a backward pass. Passes without gradients are not counted.
    """
    framework = framework_of(network, ())
    if framework != "torch":
        raise TypeError(f"network={network!r:.80}: must be a torch.nn.Module; a compiled step cannot be watched from "
                        "outside: call gradverify.check_flow every so many steps")
    adapter = import_module("gradverify.frameworks.torch.monitor")
    steps, dtype = adapter.make_steps(network)
    return FlowMonitor(type(network).__name__, declared(optimizer), dtype, adapter.watching(network), steps)
