"""Rules by which parameters follow gradients, each as the direction it takes for a sequence of gradients.

A direction d_t times -lr is the step at time t. Every rule is written for a whole array of independent entries,
``(steps, entries) -> (steps, entries)``, with eps left out: identification asks with gradients so large that
no eps can be seen. Beside the right rules stand the mistakes that people make in writing them.

Sources: Polyak (1964); Nesterov (1983); Duchi et al. (2011), dual averaging in section 2; Hinton (2012); Zeiler
(2012); Kingma and Ba (2015), algorithms 1 and 2; Dozat (2016); Reddi et al. (2018); Chen et al. (2023), algorithm 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any  # float64 arrays of shape (steps, entries)
Direction: TypeAlias = Callable[..., Array]


@dataclass(frozen=True)
class Rule:
    """A direction with the names of its constants (shares between 0 and 1), and what is wrong with it if anything.

    Gradients c times as large make it c^degree times as long.
    """

    name: str
    constants: tuple[str, ...]
    direction: Direction
    mistake: str = ""
    remedy: str = ""
    degree: float = 0.0


def average(x: Array, beta: float, first: float | None = None) -> Array:
    """The running mean a <- beta a + first x, started at zero; `first` is 1 - beta unless given."""
    weight = 1 - beta if first is None else first
    a, seen = np.zeros(x.shape[1:]), []
    for row in x:
        a = beta * a + weight * row
        seen.append(a)
    return np.array(seen)


def corrected(a: Array, beta: float, start: int = 1) -> Array:
    """A running mean divided by 1 - beta^t, the sum of its weights."""
    t = np.arange(start, start + len(a)).reshape(-1, *(1,) * (a.ndim - 1))
    return a / (1 - beta**t)


def _sgd(g: Array) -> Array:
    return g


def _momentum(g: Array, mu: float) -> Array:
    return average(g, mu, 1.0)


def _nesterov(g: Array, mu: float) -> Array:
    return g + mu * average(g, mu, 1.0)


def _dampened(g: Array, mu: float, dampening: float) -> Array:
    """PyTorch's: the first gradient enters whole, the later ones times 1 - dampening."""
    later = average(g, mu, 1 - dampening)
    t = np.arange(len(g)).reshape(-1, *(1,) * (g.ndim - 1))
    return later + dampening * mu**t * g[0]


def _adagrad(g: Array) -> Array:
    return g / np.sqrt(np.cumsum(g**2, axis=0))


def _dual_averaging(g: Array) -> Array:
    """All gradients so far over the root of their squares: the parameters themselves, not a step from the last ones."""
    return np.cumsum(g, axis=0) / np.sqrt(np.cumsum(g**2, axis=0))


def _rmsprop(g: Array, rho: float) -> Array:
    return g / np.sqrt(average(g**2, rho))


def _rmsprop_momentum(g: Array, rho: float, mu: float) -> Array:
    return average(_rmsprop(g, rho), mu, 1.0)


def _centered(g: Array, rho: float) -> Array:
    return g / np.sqrt(average(g**2, rho) - average(g, rho) ** 2)


def _adam(g: Array, b1: float, b2: float) -> Array:
    return corrected(average(g, b1), b1) / np.sqrt(corrected(average(g**2, b2), b2))


def _amsgrad(g: Array, b1: float, b2: float) -> Array:
    """The largest second moment so far, corrected afterwards as in PyTorch."""
    return corrected(average(g, b1), b1) / np.sqrt(corrected(np.maximum.accumulate(average(g**2, b2)), b2))


def _amsgrad_corrected(g: Array, b1: float, b2: float) -> Array:
    """The same with the largest of the corrected ones, as in optax."""
    return corrected(average(g, b1), b1) / np.sqrt(np.maximum.accumulate(corrected(average(g**2, b2), b2)))


def _adamax(g: Array, b1: float, b2: float) -> Array:
    u, seen = np.zeros(g.shape[1:]), []
    for row in g:
        u = np.maximum(b2 * u, np.abs(row))
        seen.append(u)
    return corrected(average(g, b1), b1) / np.array(seen)


def _nadam(g: Array, b1: float, b2: float) -> Array:
    """Dozat's without a schedule of momentum, as in optax: the momentum of the next step, looked ahead to."""
    m = average(g, b1)
    ahead = b1 * corrected(m, b1, 2) + (1 - b1) * corrected(g, b1)
    return ahead / np.sqrt(corrected(average(g**2, b2), b2))


def _sign(g: Array) -> Array:
    return np.sign(g)


def _lion(g: Array, b1: float, b2: float) -> Array:
    m = average(g, b2)
    before = np.concatenate([np.zeros((1, *g.shape[1:])), m[:-1]])
    return np.sign(b1 * before + (1 - b1) * g)


DUAL = "dual averaging"  # follow the regularised leader: McMahan et al. (2013), algorithm 1

RIGHT = (
    Rule("sgd", (), _sgd, degree=1.0),
    Rule("sign", (), _sign),
    Rule("adagrad", (), _adagrad),
    Rule(DUAL, (), _dual_averaging),
    Rule("momentum", ("mu",), _momentum, degree=1.0),
    Rule("nesterov", ("mu",), _nesterov, degree=1.0),
    Rule("rmsprop", ("rho",), _rmsprop),
    Rule("centered", ("rho",), _centered),
    Rule("momentum", ("mu", "dampening"), _dampened, degree=1.0),
    Rule("rmsprop", ("rho", "mu"), _rmsprop_momentum),
    Rule("adam", ("b1", "b2"), _adam),
    Rule("amsgrad", ("b1", "b2"), _amsgrad),
    Rule("amsgrad", ("b1", "b2"), _amsgrad_corrected),
    Rule("adamax", ("b1", "b2"), _adamax),
    Rule("nadam", ("b1", "b2"), _nadam),
)

_CORRECT = "divide m by 1 - b1^t and v by 1 - b2^t, with t = 1 at the first step"


def _no_correction(g: Array, b1: float, b2: float) -> Array:
    return average(g, b1) / np.sqrt(average(g**2, b2))


def _first_only(g: Array, b1: float, b2: float) -> Array:
    return corrected(average(g, b1), b1) / np.sqrt(average(g**2, b2))


def _second_only(g: Array, b1: float, b2: float) -> Array:
    return average(g, b1) / np.sqrt(corrected(average(g**2, b2), b2))


def _late(g: Array, b1: float, b2: float) -> Array:
    return corrected(average(g, b1), b1, 2) / np.sqrt(corrected(average(g**2, b2), b2, 2))


def _without_root(g: Array, b1: float, b2: float) -> Array:
    return corrected(average(g, b1), b1) / corrected(average(g**2, b2), b2)


def _of_moment(g: Array, b1: float, b2: float) -> Array:
    m = average(g, b1)
    return corrected(m, b1) / np.sqrt(corrected(average(m**2, b2), b2))


def _of_size(g: Array, b1: float, b2: float) -> Array:
    return corrected(average(g, b1), b1) / np.sqrt(corrected(average(np.abs(g), b2), b2))


def _raw_gradient(g: Array, b1: float, b2: float) -> Array:
    return corrected(g, b1) / np.sqrt(corrected(average(g**2, b2), b2))


def _stale_second(g: Array, b1: float, b2: float) -> Array:
    v = average(g**2, b2)
    before = np.concatenate([v[:1], v[:-1]])
    return corrected(average(g, b1), b1) / np.sqrt(corrected(before, b2))


def _against_momentum(g: Array, mu: float) -> Array:
    return average(g, -mu, 1.0)


def _rms_without_root(g: Array, rho: float) -> Array:
    return g / average(g**2, rho)


def _rms_of_size(g: Array, rho: float) -> Array:
    return g / np.sqrt(average(np.abs(g), rho))


def _ada_without_root(g: Array) -> Array:
    return g / np.cumsum(g**2, axis=0)


def _ada_of_size(g: Array) -> Array:
    return g / np.sqrt(np.cumsum(np.abs(g), axis=0))


def _double_momentum(g: Array, mu: float) -> Array:
    return g + average(g, mu, 1.0)


def _late_momentum(g: Array, mu: float) -> Array:
    v = average(g, mu, 1.0)
    return np.concatenate([np.zeros((1, *g.shape[1:])), v[:-1]])


_B = ("b1", "b2")
WRONG = (
    Rule("ada-without-root", (), _ada_without_root, "Adagrad divides by the sum of squares, not by its root",
         "take the square root of the sum", degree=-1.0),
    Rule("ada-of-size", (), _ada_of_size, "Adagrad sums |g| where it should sum g^2",
         "square the gradients", degree=0.5),
    Rule("momentum-sign", ("mu",), _against_momentum, "the velocity is subtracted: old gradients push backwards",
         "v = mu v + g", degree=1.0),
    Rule("look-ahead", ("mu",), _double_momentum, "Nesterov's direction adds the velocity without its factor mu",
         "step along g + mu v", degree=1.0),
    Rule("velocity-late", ("mu",), _late_momentum, "the step uses the velocity of the step before",
         "update the velocity first, then step along it", degree=1.0),
    Rule("rms-without-root", ("rho",), _rms_without_root, "RMSprop divides by the mean square, not by its root",
         "take the square root", degree=-1.0),
    Rule("rms-of-size", ("rho",), _rms_of_size, "RMSprop averages |g| where it should average g^2",
         "square the gradients", degree=0.5),
    Rule("no-bias-correction", _B, _no_correction, "Adam without bias correction: its first steps have another size",
         _CORRECT),
    Rule("bias-correction-of-m-only", _B, _first_only, "the second moment is not corrected for its start at zero",
         _CORRECT),
    Rule("bias-correction-of-v-only", _B, _second_only, "the first moment is not corrected for its start at zero",
         _CORRECT),
    Rule("time-off-by-one", _B, _late, "the bias correction uses t + 1", _CORRECT),
    Rule("without-root", _B, _without_root, "Adam divides by the second moment, not by its root",
         "divide by sqrt(v) + eps", degree=-1.0),
    Rule("square-of-moment", _B, _of_moment, "the second moment averages m^2 where it should average g^2",
         "v = b2 v + (1 - b2) g^2"),
    Rule("size-not-square", _B, _of_size, "the second moment averages |g| where it should average g^2",
         "v = b2 v + (1 - b2) g^2", degree=0.5),
    Rule("gradient-not-moment", _B, _raw_gradient, "the step is along the gradient, the first moment is not used",
         "step along m / (1 - b1^t)"),
    Rule("second-moment-late", _B, _stale_second, "the second moment is that of the step before",
         "update v first, then step"),
)  # fmt: skip
