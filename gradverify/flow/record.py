"""What `check_flow` returns: a row for each layer, a verdict, and whether theory expected it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gradverify import sheets
from gradverify.records import Cause, Curve, Figure, Sheet


class FlowVerdict(StrEnum):
    """How the gradient gets through a network; compares equal to its name."""

    HEALTHY = "healthy"
    VANISHING = "vanishing"
    EXPLODING = "exploding"
    DEAD = "dead"
    SATURATED = "saturated"
    NONFINITE = "nonfinite"


@dataclass(frozen=True)
class Declared:
    """The optimizer that is going to use the gradient: its name, its eps, its learning rate.

    `adaptive` ones divide each gradient by its own size, and so forgive far more of a ratio.
    """

    name: str
    eps: float = 0.0
    rate: float = math.nan
    adaptive: bool = False


@dataclass(frozen=True)
class Limits:
    """Decades of the gradient that may be lost on the way back, and gained.

    Beyond `large` it matters how many directions a step can move the outputs in (`Signal.reach`). Where `slow` is
    finite one rate serves all layers, and what it can do decides instead of both, if it is known
    (`Signal.conditioning`).
    """

    lost: float
    gained: float
    large: float = math.inf
    slow: float = math.inf


@dataclass(frozen=True)
class LayerFlow:
    """One layer: root mean squares of its output, the gradient at it and its parameters; and what theory expected.

    `delta` is dL/d output. `log_ratio` is ln(mean square of dL/d input / mean square of dL/d output), `predicted` its
    expectation with standard error `error`, `z` their difference in units of that. `dead` is the share of units that
    pass no gradient for any example, `saturated` that of entries on a flat end. `update` is the root mean square of the
    first step of the optimizer over that of the weights (for a learning rate of 1 where none was declared).
    """

    layer: str
    kind: str
    activation: float
    delta: float
    log_ratio: float
    predicted: float
    error: float
    z: float
    explained: bool | None
    dead: float
    saturated: float
    weight: float
    gradient: float
    update: float
    below_eps: float
    below_half: float

    @property
    def interval(self) -> tuple[float, float]:
        """The log-ratio with 95 % confidence."""
        return self.log_ratio - 1.96 * self.error, self.log_ratio + 1.96 * self.error


COLUMNS = tuple(LayerFlow.__dataclass_fields__)
SHOWN = ("layer", "kind", "activation", "delta", "log_ratio", "predicted", "error", "z", "dead", "saturated", "update",
         "below_eps")


@dataclass(frozen=True)
class Trial:
    """A remedy that was applied to a copy, and what the copy's verdict and ratio were."""

    remedy: str
    verdict: FlowVerdict
    decades: float

    def __str__(self) -> str:
        return f"{self.remedy}: {self.verdict}, {self.decades:+.1f} decades"


@dataclass(frozen=True)
class Spectrum:
    """Singular values of the input-output Jacobian of single examples: root mean square, largest, smallest."""

    mean: float
    largest: float
    smallest: float


@dataclass(frozen=True)
class Signal:
    """What of the inputs arrives at the output.

    `spread` is how much outputs differ between examples, over their root mean square; infinite for a single one.
    `directions` counts those in which examples still differ at the last layer with weights, beyond rounding; `possible`
    those that inputs and widths would allow. `sensitivity` is log10 of how much the differences between outputs change
    for a relative change of the first layer's: 0 in a linear network, whatever its scale. `apart` counts the directions
    at the last layer by their share of its size, what all examples have in common as one. `reach` counts those in which
    one step can move the outputs, likewise; it is measured only where the verdict needs it, and else NaN.

    So are the last three (`gradverify.flow.pace`). `conditioning` is log10 of how many times more slowly than what
    moves fastest most differences between examples are learnt. `stride` is log10 of the relative change of a layer's
    weights by one step at the smallest rate in use. `shaken` is how much differences between outputs change if weights
    change by a hundredth, 1 being all of them.
    """

    spread: float
    directions: int
    possible: int
    sensitivity: float
    apart: float = math.nan
    examples: int = 0
    reach: float = math.nan
    conditioning: float = math.nan
    stride: float = math.nan
    shaken: float = math.nan


@dataclass(frozen=True)
class FlowReport:
    """The verdict on a network's gradient flow, its evidence layer by layer, and remedies that were tried.

    `decades` is log10 of the root mean square of dL/dz at the first layer over that at the last: negative where the
    gradient shrinks on its way back. `predicted` +- `error` is what theory expects of it. None of this depends on the
    scale of the loss; the shares below eps and below what float16 holds do, and are findings of their own.
    """

    network: str
    verdict: FlowVerdict
    headline: str
    optimizer: Declared
    layers: tuple[LayerFlow, ...]
    decades: float
    limits: Limits
    predicted: float = math.nan
    error: float = math.nan
    findings: tuple[Cause, ...] = ()
    trials: tuple[Trial, ...] = ()
    spectrum: Spectrum | None = None
    loss: float = math.nan
    noise_scale: float = math.nan
    signal: Signal | None = None
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the gradient gets through, and no layer's own backward pass is wrong."""
        return self.verdict is FlowVerdict.HEALTHY and not self.wrong

    @property
    def z(self) -> float:
        """The distance of `decades` from its prediction, in standard errors."""
        return (self.decades - self.predicted) / self.error if self.error else math.nan

    @property
    def unexplained(self) -> tuple[str, ...]:
        """The layers whose factor lies too far from its prediction, or whose backward pass contradicts its forward."""
        return tuple(layer.layer for layer in self.layers if layer.explained is False)

    @property
    def wrong(self) -> tuple[str, ...]:
        """The layers whose own backward pass was checked and is wrong."""
        return tuple(cause.evidence.split(":")[0] for cause in self.findings if cause.name == "wrong-backward")

    def sheet(self) -> Sheet:
        """The report as a table with a verdict, which is what files and pages are made from."""
        return Sheet(
            kind="flow", target=self.network, verdict=str(self.verdict), ok=self.ok, headline=self.headline,
            columns=SHOWN, rows=tuple(_cells(layer, SHOWN) for layer in self.layers), findings=self.findings,
            figures=self.figures(), notes=(*self.notes, *_sentences(self)))

    def figures(self) -> tuple[Figure, ...]:
        """The sizes of gradient and activations through the depth, and each layer's factor beside its prediction."""
        depth = tuple(float(k) for k, _ in enumerate(self.layers))
        curves = tuple(Curve(label, depth, tuple(float(getattr(layer, name)) for layer in self.layers))
                       for label, name in (("gradient dL/d output", "delta"), ("output", "activation")))
        names = (("measured", "log_ratio"), ("expected by theory", "predicted"))
        ratios = tuple(Curve(label, depth, tuple(_finite(getattr(layer, name)) for layer in self.layers), points=True)
                       for label, name in names)
        return (Figure("What flows through the layers", "layer", "root mean square", curves, log_y=True),
                Figure("What each layer does to the gradient", "layer", "ln of the factor of its mean square", ratios))

    def frame(self) -> Any:
        """A `pandas.DataFrame`, one row a layer, in the order of the forward pass."""
        rows = tuple(_cells(layer, COLUMNS) for layer in self.layers)
        return Sheet("flow", self.network, str(self.verdict), self.ok, "", COLUMNS, rows).frame()

    to_json = sheets.to_json
    to_html = sheets.to_html
    __str__ = sheets.text
    _repr_html_ = sheets.fragment


def _finite(x: float) -> float:
    return x if math.isfinite(x) else math.nan


def _cells(layer: LayerFlow, columns: Iterable[str]) -> tuple[Any, ...]:
    return tuple(getattr(layer, name) for name in columns)


def _sentences(report: FlowReport) -> tuple[str, ...]:
    """What was measured of the whole network, for people."""
    s, j, said = report.signal, report.spectrum, []
    if s is not None and s.possible:
        said.append(f"examples differ in {s.directions} of {s.possible} possible directions at the last layer; a "
                    f"change of the first changes the differences between outputs 10^{s.sensitivity:.1f} times as much")
    if s is not None and s.conditioning == s.conditioning:
        said.append(f"at one rate for all layers most differences between examples are learnt 10^{s.conditioning:.1f} "
                    "times more slowly than what moves fastest")
    if j is not None:
        smallest = "" if math.isnan(j.smallest) else f", smallest {j.smallest:.2g}"
        said.append(f"singular values of the Jacobian of single examples: largest {j.largest:.2g}, root mean square "
                    f"{j.mean:.2g}{smallest}")
    if report.noise_scale == report.noise_scale:
        size = "far more examples" if math.isinf(report.noise_scale) else f"{report.noise_scale:.0f} examples"
        said.append(f"noise scale of the gradient: in a batch of {size} noise and gradient are of one size")
    return tuple(said)
