"""`check_flow`: one forward pass, a few backward passes, and what they say about a network before it is trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np

from gradverify.arrays import dtype_name, to_float64
from gradverify.flow import advice, jacobian, pace, remedies
from gradverify.flow.measuring import Sizes, ln, rms, sizes
from gradverify.flow.prediction import Prediction, draw_cotangent, predict
from gradverify.flow.record import Declared, FlowReport, FlowVerdict, LayerFlow, Limits, Signal
from gradverify.flow.signal import reach, signal
from gradverify.flow.sites import Backward, Passage, Site, settled
from gradverify.flow.verdict import CHAOTIC, decide, declared, limits_of
from gradverify.targets import framework_of

STREAM = 0x666C6F77


@dataclass(frozen=True)
class Measured:
    """One site with its sizes, what theory says of it, and what it received and sent of the random cotangent."""

    site: Site
    sizes: Sizes
    prediction: Prediction
    received: np.ndarray | None
    sent: np.ndarray | None


def check_flow(
    network: Any, *inputs: Any, loss: Callable[..., Any] | None = None, optimizer: Any = "sgd", seed: int = 0
) -> FlowReport:
    """Whether the gradient gets back through a network: vanishing, exploding, dead, saturated, nonfinite or healthy.

    `network` is a PyTorch module, a JAX function or module or a Keras model, called as ``network(*inputs)``, or a
    network of `gradverify.reference`, called as ``network.forward(params, x)``. `loss` is a callable of its output;
    without one the gradient that is sent back is random, which is all that the verdict needs. `optimizer` is a name or
    an instance: how many decades between the layers it forgives decides the verdict.

    >>> from gradverify.reference import Activation, Dense, sequential
    >>> layers = [Dense(32, 32, initialiser="lecun_normal"), Activation("sigmoid")] * 12
    >>> network, x = sequential(*layers), np.random.default_rng(0).normal(size=(20, 32))
    >>> report = check_flow(network, network.init(np.random.default_rng(1)), x)
    >>> str(report.verdict), f"{report.decades:.0f} decades", report.unexplained
    ('vanishing', '-7 decades', ())
    """
    optimizer = declared(optimizer)
    passage = record(network, inputs)
    passage = replace(passage, sites=settled(passage.sites, seed))
    if not any(site.is_linear for site in passage.sites):
        raise TypeError(f"nothing to check: {passage.name} has no layer with weights that flow could be measured at")
    report, measured = measure(passage, loss, optimizer, seed)

    def again(copy: Passage) -> FlowReport:
        return measure(replace(copy, sites=settled(copy.sites, seed)), loss, optimizer, seed)[0]

    with np.errstate(all="ignore"):
        trials = remedies.tried(report, passage, again)
        report = with_directions(replace(report, trials=trials), passage, loss, seed)
    return advice.advised(report, measured)


def with_directions(report: FlowReport, passage: Passage, loss: Callable[..., Any] | None, seed: int) -> FlowReport:
    """The report with what single directions and single examples do: the Jacobian's spectrum, the gradient's noise."""
    if report.verdict is FlowVerdict.NONFINITE:
        return report
    found, why = jacobian.spectrum(passage, np.random.default_rng([STREAM, seed, 1]))
    noise = math.nan if loss is None else jacobian.noise_scale(passage, passage.cotangent(loss)[1])
    return replace(report, spectrum=found, noise_scale=noise, notes=(*report.notes, why) if why else report.notes)


def record(network: Any, inputs: tuple[Any, ...]) -> Passage:
    """The forward pass, watched by the adapter of the framework whose values the inputs are."""
    framework = framework_of(network, inputs)
    if framework is not None:
        return _adapted(f"gradverify.frameworks.{framework}.flow", network, inputs)
    if hasattr(network, "forward") and hasattr(network, "pushforward"):
        return _adapted("gradverify.flow.reference", network, inputs)
    raise TypeError(f"network={network!r}: must be a network of a framework, called on its arrays, or of the reference")


def _adapted(adapter: str, network: Any, inputs: tuple[Any, ...]) -> Passage:
    passage: Passage = import_module(adapter).record(network, inputs)
    return passage


def measure(
    passage: Passage, loss: Callable[..., Any] | None, optimizer: Declared, seed: int
) -> tuple[FlowReport, tuple[Measured, ...]]:
    """The report without advice, and the evidence it came from."""
    # A stream of its own: people draw weights from default_rng(0), and a cotangent equal to them is not independent.
    rng = np.random.default_rng([STREAM, seed])
    drawn = draw_cotangent(rng, passage.output)
    value, u = (math.nan, drawn) if loss is None else passage.cotangent(loss)
    finite = _is_finite(passage, u)
    if not finite:
        drawn, u = np.nan_to_num(drawn), np.zeros_like(drawn)
    unit = _unit(u)
    with np.errstate(all="ignore"):
        free = passage.pull(drawn)
        backward = free if loss is None else passage.pull(u / np.asarray(unit, u.dtype))
        measured: tuple[Measured, ...] = ()
        for site in passage.sites:  # what a block contains comes before it
            parts = [m.prediction for m in measured if m.site.inside == site.name]
            measured += (_measure(site, free, backward, optimizer, unit, parts),)
    layers = tuple(_layer(m, optimizer) for m in measured)
    decades = _decades(measured)
    limits = limits_of(optimizer, dtype_name(passage.output))
    with np.errstate(all="ignore"):
        seen = _looked_closer(signal(passage, free, drawn), passage, free, limits, decades, seed) if finite else None
    verdict = decide(limits, decades, layers, seen)
    predicted, error = _predicted(measured)
    report = FlowReport(passage.name, verdict, "", optimizer, layers, decades, limits, predicted, error, loss=value,
                        signal=seen)
    return report, measured


def _looked_closer(
    seen: Signal, passage: Passage, free: Backward, limits: Limits, decades: float, seed: int
) -> Signal:
    """The signal with what takes many passes, as far as this optimizer's verdict needs it."""
    if limits.large < decades <= limits.gained:
        seen = replace(seen, reach=reach(passage, np.random.default_rng([STREAM, seed, 2])))
    if math.isfinite(limits.slow):
        slow = pace.conditioning(passage, seen.possible, np.random.default_rng([STREAM, seed, 3]))
        seen = replace(seen, conditioning=slow, stride=pace.stride(passage, free))
        if seen.sensitivity > CHAOTIC:
            seen = replace(seen, shaken=pace.shaken(passage, np.random.default_rng([STREAM, seed, 4])))
    return seen


def _is_finite(passage: Passage, u: np.ndarray) -> bool:
    return bool(np.all(np.isfinite(to_float64(passage.output))) and np.all(np.isfinite(to_float64(u))))


def _unit(u: np.ndarray) -> float:
    """A power of two near the size of u. Divided by it no bit of u changes, and a tiny loss underflows nowhere."""
    size = rms(u)
    return 2.0 ** round(math.log2(size)) if 0 < size < math.inf else 1.0


def _measure(
    site: Site, free: Backward, backward: Backward, optimizer: Declared, unit: float, parts: Sequence[Prediction]
) -> Measured:
    seen = sizes(site, backward, optimizer.eps, unit)
    expected = predict(site, free, sizes(site, free, 0.0, 1.0).log_ratio, parts)
    return Measured(site, seen, expected, free.received.get(site.name), free.sent.get(site.name))


def _layer(m: Measured, optimizer: Declared) -> LayerFlow:
    s, p = m.sizes, m.prediction
    return LayerFlow(
        layer=m.site.name, kind=m.site.kind, activation=s.activation, delta=s.received, log_ratio=s.log_ratio,
        predicted=p.log_ratio, error=p.error, z=p.z, explained=p.explained, dead=s.dead, saturated=s.saturated,
        weight=s.weight, gradient=s.gradient, update=_update(s, optimizer), below_eps=s.below_eps,
        below_half=s.below_half)


def _update(s: Sizes, optimizer: Declared) -> float:
    """The first step over the weights: eta g / w, or about eta / w where each gradient is divided by its size."""
    rate = 1.0 if math.isnan(optimizer.rate) else optimizer.rate
    step = 1 - s.below_eps if optimizer.adaptive else s.gradient
    return rate * step / s.weight if s.weight else math.nan


def profile(measured: Sequence[Measured]) -> list[Sizes]:
    """The layers with weights that the gradient reached, in the order of the forward pass."""
    return [m.sizes for m in measured if m.site.is_linear and not math.isnan(m.sizes.received)]


def _decades(measured: Sequence[Measured]) -> float:
    """log10 of the first layer's delta over the last's; -inf where nothing arrived, NaN where nothing was sent."""
    deltas = [s.received for s in profile(measured)]
    if not deltas or deltas[-1] == 0.0:
        return math.nan
    return (ln(deltas[0]) - ln(deltas[-1])) / math.log(10)


def _predicted(measured: Sequence[Measured]) -> tuple[float, float]:
    """The same from theory: the sum over the chain between, where all of it has a prediction."""
    chain = [m for m in measured if not m.site.inside]
    linear = [k for k, m in enumerate(chain) if m.site.is_linear]
    between = chain[linear[0] + 1 : linear[-1] + 1] if linear else []
    if not between or any(math.isnan(m.prediction.log_ratio) or not m.site.follows for m in between):
        return math.nan, math.nan
    total = sum(m.prediction.log_ratio for m in between) / 2
    variance = sum(m.prediction.error**2 for m in between) / 4
    return total / math.log(10), math.sqrt(variance) / math.log(10)
