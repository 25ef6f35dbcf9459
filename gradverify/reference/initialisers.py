"""Where training starts: random weights whose variance keeps signals neither fading nor growing with depth.

A unit that sums n inputs of variance v with independent weights of variance s has variance n s v. The three
rules choose s so that this stays v: forwards (LeCun), on average of forwards and backwards (Glorot), and
forwards through a ReLU, which throws half of it away (He).

    lecun    s = 1 / fan_in                 LeCun, Bottou, Orr and Müller, *Efficient BackProp* (1998)
    glorot   s = 2 / (fan_in + fan_out)     Glorot and Bengio (2010), eq. 12
    he       s = 2 / fan_in                 He, Zhang, Ren and Sun (2015), eq. 10
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

VARIANCES: dict[str, Callable[[int, int], float]] = {
    "lecun": lambda fan_in, _: 1 / fan_in,
    "glorot": lambda fan_in, fan_out: 2 / (fan_in + fan_out),
    "he": lambda fan_in, _: 2 / fan_in,
}
INITIALISERS = ("zeros", *(f"{rule}_{law}" for rule in VARIANCES for law in ("normal", "uniform")))


def require_initialiser(name: str) -> None:
    """Raise unless there is an initialiser of this name."""
    if name not in INITIALISERS:
        raise ValueError(f"initialiser={name!r}: must be one of {', '.join(INITIALISERS)}")


def draw(
    name: str, rng: np.random.Generator, shape: tuple[int, ...], fan_in: int, fan_out: int
) -> np.ndarray:
    """Weights of mean 0 and the rule's variance s: normal, or uniform on [-sqrt(3 s), sqrt(3 s)].

    `fan_in` is the number of inputs that one output sums, `fan_out` of outputs that one input feeds.

    >>> W = draw("he_normal", np.random.default_rng(0), (400, 100), 400, 100)
    >>> print(f"{400 * W.var():.1f}")
    2.0
    """
    require_initialiser(name)
    if name == "zeros":
        return np.zeros(shape)
    rule, law = name.split("_")
    deviation = math.sqrt(VARIANCES[rule](fan_in, fan_out))
    if law == "normal":
        return rng.normal(0.0, deviation, shape)
    return rng.uniform(-math.sqrt(3) * deviation, math.sqrt(3) * deviation, shape)
