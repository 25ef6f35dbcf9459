"""scipy.special's ufuncs as analytic functions of a + ib on the branch of a.

scipy evaluates the error and gamma functions at complex arguments itself; the logistic and entropy
families are real only and are written out in a form that neither overflows nor cancels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

from gradverify.arithmetic.complextable import (
    Rule,
    Watch,
    cbrt,
    divide,
    expm1,
    imag,
    inside,
    join,
    log1p,
    multiply,
    native,
    real,
)

ULPS = 16.0  # scipy's complex error and gamma functions: the worst seen in the imaginary part is 15
LOG = inside(np.log, lambda x: x > 0)


def expit(watch: Watch, z: Any) -> Any:
    """``1 / (1 + e)`` or ``e / (1 + e)`` with e = exp(-|a| + ...), which cannot overflow."""
    right = z.real >= 0
    e = np.exp(np.where(right, -z, z))
    return join(special.expit(z.real), divide(watch, np.where(right, 1, e), 1 + e).imag)


def log_expit(watch: Watch, z: Any) -> Any:
    """``-log1p(exp(-z))``, or ``z - log1p(exp(z))`` on the left."""
    right = z.real >= 0
    rest = log1p(watch, np.exp(np.where(right, -z, z)))
    return join(special.log_expit(z.real), (np.where(right, 0, z) - rest).imag)


def logit(watch: Watch, z: Any) -> Any:
    """``log z - log1p(-z)``."""
    return join(special.logit(z.real), (LOG(watch, z) - log1p(watch, -z)).imag)


def softplus(watch: Watch, z: Any) -> Any:
    """``-log_expit(-z)``."""
    return join(np.logaddexp(0, z.real), -log_expit(watch, -z).imag)


def xlogy(watch: Watch, x: Any, y: Any) -> Any:
    """``x log y``, zero where x is zero and stays so."""
    return _product(special.xlogy, x, y, LOG(watch, y + 0j))


def xlog1py(watch: Watch, x: Any, y: Any) -> Any:
    """``x log(1 + y)``, likewise."""
    return _product(special.xlog1py, x, y, log1p(watch, y + 0j))


def _product(func: Any, x: Any, y: Any, log: Any) -> Any:
    still = (real(x) == 0) & np.equal(imag(x), 0) & (real(y) != 0)
    product = real(x) * log.imag + imag(x) * log.real
    return join(func(real(x), real(y)), np.where(still, 0.0, product))


def entr(watch: Watch, z: Any) -> Any:
    """``-x log x``."""
    return join(special.entr(z.real), -xlogy(watch, z, z).imag)


def rel_entr(watch: Watch, x: Any, y: Any) -> Any:
    """``x log x - x log y``, the logarithms subtracted first."""
    gap = LOG(watch, x + 0j) - LOG(watch, y + 0j)
    return join(special.rel_entr(real(x), real(y)), multiply(watch, x, gap).imag)


def log_ndtr(watch: Watch, z: Any) -> Any:
    """``log(erfcx(-z/sqrt 2) / 2) - z^2/2`` on the left, ``log1p(-erfc(z/sqrt 2) / 2)`` on the right."""
    s = z / np.sqrt(2.0)
    left = z.real < 0
    lower = np.log(special.erfcx(-np.where(left, s, 0)) / 2) - np.where(left, multiply(watch, s, s), 0)
    upper = log1p(watch, -special.erfc(np.where(left, 0, s)) / 2)
    return join(special.log_ndtr(z.real), np.where(left, lower, upper).imag)


def positive(func: Any) -> Rule:
    """The gamma family right of its poles; elsewhere the imaginary part is NaN."""
    return inside(func, lambda x: x > 0)


def gammaln(watch: Watch, z: Any) -> Any:
    """``log gamma`` right of zero."""
    return join(special.gammaln(z.real), positive(special.loggamma)(watch, z).imag)


UFUNCS: dict[Any, Rule] = {
    **{func: native(func) for func in (special.erf, special.erfc, special.erfcx, special.ndtr)},
    special.dawsn: native(special.dawsn),
    **{func: positive(func) for func in (special.gamma, special.rgamma, special.psi, special.loggamma)},
    special.gammaln: gammaln, special.expit: expit, special.log_expit: log_expit, special.logit: logit,
    special.xlogy: xlogy, special.xlog1py: xlog1py, special.entr: entr, special.rel_entr: rel_entr,
    special.log_ndtr: log_ndtr, special.log1p: log1p, special.expm1: expm1, special.cbrt: cbrt,
    **({special.softplus: softplus} if hasattr(special, "softplus") else {}),
}
