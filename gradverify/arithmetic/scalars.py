"""NumPy's ufuncs on object arrays of mpmath numbers, at any number of digits.

Each precision has a context of its own, so that nobody's `mpmath.mp` is touched. What leaves the
reals (log of a negative number) or has no value (a pole) is NaN, as it is in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from mpmath.ctx_mp import MPContext
from scipy import special

from gradverify.arithmetic.numberarray import Numbers

Row = Callable[..., Any]
HUGE = 2**40  # e^(2^40): what is larger only costs time on its way to infinity
WIDEST = 4000  # bits a matrix may span to be multiplied in integers

AMOUNTS, SHAKEN_BITS = 64, 12  # 64 different amounts, the least of them of 2^12 last places

BY_NAME: dict[Any, str] = {
    np.log: "log", np.sin: "sin", np.cos: "cos", np.tan: "tan", np.sinh: "sinh", np.cosh: "cosh",
    np.tanh: "tanh", np.sqrt: "sqrt", np.log1p: "log1p", np.arcsin: "asin", np.arccos: "acos",
    np.arctan: "atan", np.arcsinh: "asinh", np.arccosh: "acosh", np.arctanh: "atanh", np.arctan2: "atan2",
    np.power: "power", np.floor: "floor", np.ceil: "ceil", np.rint: "nint",
    np.isnan: "isnan", np.isinf: "isinf", np.isfinite: "isfinite",
    special.erf: "erf", special.erfc: "erfc", special.erfi: "erfi", special.erfinv: "erfinv",
    special.gamma: "gamma", special.rgamma: "rgamma", special.psi: "digamma", special.beta: "beta",
    special.j0: "j0", special.j1: "j1", special.jv: "besselj", special.iv: "besseli", special.kv: "besselk",
    special.yv: "bessely", special.exp1: "e1", special.expi: "ei", special.agm: "agm",
}
BOOLEAN = frozenset((np.isnan, np.isinf, np.isfinite))
# On object arrays these call Python's operators, at the speed of a C loop.
OPERATORS = (np.add, np.subtract, np.multiply, np.negative, np.absolute, np.greater, np.less,
             np.greater_equal, np.less_equal, np.equal, np.not_equal, np.maximum, np.minimum)


def elementwise(f: Row, arity: int = 1) -> Row:
    """`f` entry by entry of object arrays."""
    return np.frompyfunc(f, arity, 1)


def _real(ctx: Any, f: Row) -> Row:
    def guarded(*args: Any) -> Any:
        try:
            y = f(*args)
        except (ValueError, ZeroDivisionError, OverflowError):
            return ctx.nan
        return y if isinstance(y, ctx.mpf) else ctx.nan if isinstance(y, ctx.mpc) else ctx.mpf(y)

    return guarded


def _convert(ctx: Any) -> Row:
    def convert(x: Any) -> Any:
        if isinstance(x, ctx.mpf):
            return x
        return ctx.mpf(int(x) if isinstance(x, (bool, int, np.bool_, np.integer)) else float(x))

    return convert


def _exp(ctx: Any) -> Row:
    def exp(x: Any) -> Any:
        if ctx.isfinite(x) and abs(x) > HUGE:
            return ctx.inf if x > 0 else ctx.zero
        return ctx.exp(x)

    return exp


def _divide(ctx: Any) -> Row:
    def divide(a: Any, b: Any) -> Any:
        if b:
            return a / b
        return ctx.nan if not a or ctx.isnan(a) else ctx.inf if a > 0 else ctx.ninf

    return divide


def _gammaln(ctx: Any) -> Row:
    return lambda x: ctx.loggamma(x) if x > 0 else ctx.log(abs(ctx.gamma(x)))


def _sign(ctx: Any) -> Row:
    return lambda x: x if ctx.isnan(x) else ctx.mpf((x > 0) - (x < 0))


def _cbrt(ctx: Any) -> Row:
    return lambda x: ctx.cbrt(x) if x >= 0 else -ctx.cbrt(-x)


def _written(ctx: Any) -> dict[Any, tuple[Row, int]]:
    """Functions that mpmath does not have, or not for every float64 number."""
    exp, divide, gammaln = _exp(ctx), _divide(ctx), _gammaln(ctx)
    return {
        np.exp: (exp, 1), np.divide: (divide, 2), special.gammaln: (gammaln, 1),
        np.expm1: (lambda x: ctx.expm1(x) if abs(x) < 1 else exp(x) - 1, 1),
        np.tanh: (lambda x: ctx.tanh(x) if abs(x) < HUGE else _sign(ctx)(x), 1),
        np.sign: (_sign(ctx), 1), np.cbrt: (_cbrt(ctx), 1),
        np.trunc: (lambda x: ctx.floor(x) if x > 0 else ctx.ceil(x), 1),
        special.loggamma: (lambda x: ctx.loggamma(x) if x > 0 else ctx.nan, 1),
        special.erfcx: (lambda x: exp(x * x) * ctx.erfc(x), 1),
        special.dawsn: (lambda x: ctx.sqrt(ctx.pi) / 2 * exp(-x * x) * ctx.erfi(x), 1),
        special.betaln: (lambda a, b: gammaln(a) + gammaln(b) - gammaln(a + b), 2),
        special.i0: (lambda x: ctx.besseli(0, x), 1), special.i1: (lambda x: ctx.besseli(1, x), 1),
    }


def ufunc_rows(ctx: Any) -> dict[Any, Row]:
    """Functions of object arrays in this context, by ufunc."""
    rows: dict[Any, Row] = {ufunc: ufunc for ufunc in OPERATORS}
    for ufunc, name in BY_NAME.items():
        f = getattr(ctx, name)
        if ufunc in BOOLEAN:
            rows[ufunc] = _boolean(elementwise(f))
        elif isinstance(ufunc, np.ufunc):
            rows[ufunc] = elementwise(_real(ctx, f), ufunc.nin)
    for ufunc, (f, arity) in _written(ctx).items():
        rows[ufunc] = elementwise(_real(ctx, f), arity)
    rows[np.signbit] = lambda x: np.less(x, 0)
    return rows


def _boolean(rule: Row) -> Row:
    return lambda x: np.asarray(rule(x)).astype(bool)


def _integers(a: np.ndarray) -> tuple[np.ndarray, int] | None:
    """Object integers m and an exponent e with ``a = m 2^e`` exactly, if the span is moderate."""
    parts = [x._mpf_ for x in a.reshape(-1)]
    finite = [p for p in parts if p[1]]
    if any(not p[1] and p[2] for p in parts):
        return None  # infinities and NaN have no mantissa
    low = min((p[2] for p in finite), default=0)
    if max((p[2] + p[3] for p in finite), default=0) - low > WIDEST:
        return None
    whole = np.empty(len(parts), dtype=object)
    whole[:] = [(-int(p[1]) if p[0] else int(p[1])) << (p[2] - low) if p[1] else 0 for p in parts]
    return whole.reshape(a.shape), low


def _matmul(ctx: Any) -> Row:
    def back(m: int, e: int) -> Any:
        return ctx.ldexp(ctx.mpf(m), e)

    def matmul(a: np.ndarray, b: np.ndarray) -> Any:
        left, right = _integers(a), _integers(b)
        if left is None or right is None:
            return np.matmul(a, b)
        # Products and sums of integers are exact, and ten times as fast as those of mpf.
        exponent = left[1] + right[1]
        return np.frompyfunc(lambda m: back(m, exponent), 1, 1)(np.matmul(left[0], right[0]))

    return matmul


def _shake(ctx: Any) -> Row:
    def amount(k: int) -> Any:
        return ctx.one + ctx.ldexp(2 * k - AMOUNTS + 1, SHAKEN_BITS - ctx.prec)

    factors = elementwise(amount)(np.arange(AMOUNTS).astype(object))
    return lambda payload, rng: payload * factors[rng.integers(0, AMOUNTS, np.shape(payload))]


@lru_cache(maxsize=16)
def multiprecise(digits: int) -> Numbers:
    """Numbers of mpmath with so many decimal digits.

    >>> import numpy as np
    >>> x = multiprecise(30).wrap(np.array([2.0]))
    >>> print(str(np.sqrt(x).payload[0])[:30])
    1.4142135623730950488016887242
    """
    ctx = MPContext()
    ctx.dps = digits
    convert = elementwise(_convert(ctx))
    constants = {"pi": lambda: +ctx.pi, "ln2": lambda: ctx.log(2)}
    rows = ufunc_rows(ctx)
    rows[np.matmul] = _matmul(ctx)
    return Numbers(
        name=f"mpmath, {digits} digits", dtype=np.dtype(object), lift=lambda a: np.asarray(convert(a), dtype=object),
        lower=lambda a: np.asarray(a, dtype=object).astype(np.float64), ufuncs=rows,
        constant=lambda name: constants[name](), shake=_shake(ctx),
    )  # fmt: skip


def exact_difference(a: Any, b: Any) -> Any:
    """``a - b`` of numbers from contexts of any precision, without rounding either first."""
    return EXACTLY.fsub(EXACTLY.make_mpf(a._mpf_), EXACTLY.make_mpf(b._mpf_))


EXACTLY = MPContext()
EXACTLY.prec = 20_000
