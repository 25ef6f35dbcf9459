"""Where training starts: random weights whose variance keeps signals neither fading nor growing with depth.

A unit that sums n inputs of variance v with independent weights of variance s has variance n s v. The three
rules choose s so that this stays v: forwards (LeCun), on average of forwards and backwards (Glorot), and
forwards through a ReLU, which throws half of it away (He).

    lecun    s = 1 / fan_in                 LeCun, Bottou, Orr and Müller, *Efficient BackProp* (1998)
    glorot   s = 2 / (fan_in + fan_out)     Glorot and Bengio (2010), eq. 12
    he       s = 2 / fan_in                 He, Zhang, Ren and Sun (2015), eq. 10

`orthogonal` weights have orthonormal rows or columns, whichever are fewer: they keep not only the mean length
of a signal but that of every one (Saxe, McClelland and Ganguli 2014). Where many branches are added up, their
last weights are divided by the square root of the number of branches: see `graphs.scaled_by_depth`.
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
INITIALISERS = ("zeros", "orthogonal", *(f"{rule}_{law}" for rule in VARIANCES for law in ("normal", "uniform")))


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
    if name == "orthogonal":
        return orthogonal(rng, shape)
    rule, law = name.split("_")
    deviation = math.sqrt(VARIANCES[rule](fan_in, fan_out))
    if law == "normal":
        return rng.normal(0.0, deviation, shape)
    return rng.uniform(-math.sqrt(3) * deviation, math.sqrt(3) * deviation, shape)


def orthogonal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Orthonormal rows or columns of the matrix (first axis, all others), uniformly distributed.

    The signs of R's diagonal make the Q of a Gaussian matrix uniform: Mezzadri, *How to generate random matrices
    from the classical compact groups* (2007), section 5.

    >>> Q = orthogonal(np.random.default_rng(0), (2, 5))
    >>> np.round(Q @ Q.T, 12)
    array([[ 1., -0.], [-0.,  1.]])
    """
    rows, columns = shape[0], math.prod(shape[1:])
    Q, R = np.linalg.qr(rng.normal(size=(max(rows, columns), min(rows, columns))))
    Q = Q * np.sign(np.diagonal(R))
    return np.reshape(Q if rows >= columns else Q.T, shape)
