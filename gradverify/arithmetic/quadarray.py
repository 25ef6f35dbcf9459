"""NumPy's ufuncs on 113-bit floats (numpy-quaddtype), by routes that are known not to crash.

The dtype aborts the process in `einsum` whenever an inner loop sums into one number, and it refuses
the other contractions. So nothing here contracts: a product of matrices is a sum of outer products,
and what the dtype lacks (the error and gamma functions) goes entry by entry through mpmath.
"""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from gradverify.arithmetic.functions import Refused
from gradverify.arithmetic.numberarray import Numbers
from gradverify.arithmetic.scalars import elementwise, multiprecise

Row = Callable[..., Any]
BITS = 113
BIAS = 16383 + 112
INFINITE, NEGATIVE = 0x7FFF << 112, 1 << 127
EXPONENT = np.uint64(0x7FFF << 48)  # in the upper of a little-endian number's two words
PATIENCE = 60.0  # seconds for a process that imports NumPy and multiplies two numbers
PROBE = """
import numpy, numpy_quaddtype
x = numpy.ones((3, 3)).astype(numpy_quaddtype.QuadPrecDType()) / 3
assert numpy.abs(numpy.add.reduce(numpy.exp(numpy.log(x)) - x, axis=0)).max() < 1e-32
assert numpy.all(x != x.astype(float))
"""

NATIVE = (
    np.add, np.subtract, np.multiply, np.divide, np.negative, np.absolute, np.square, np.reciprocal, np.sqrt, np.cbrt,
    np.exp, np.exp2, np.expm1, np.log, np.log2, np.log10, np.log1p, np.power, np.hypot, np.arctan2,
    np.sin, np.cos, np.tan, np.arcsin, np.arccos, np.arctan, np.sinh, np.cosh, np.arcsinh, np.arccosh, np.arctanh,
    np.floor, np.ceil, np.trunc, np.rint, np.sign, np.signbit, np.copysign,
    np.maximum, np.minimum, np.fmax, np.fmin, np.isnan, np.isinf, np.isfinite,
    np.greater, np.less, np.greater_equal, np.less_equal, np.equal, np.not_equal,
)  # fmt: skip


@cache
def usable() -> bool:
    """Whether numpy-quaddtype is installed and computes on this platform: asked in another process first."""
    if find_spec("numpy_quaddtype") is None:
        return False
    try:
        probe = subprocess.run(  # noqa: S603 - this interpreter, and the constant above
            [sys.executable, "-c", PROBE], capture_output=True, timeout=PATIENCE, check=False
        )
        import_module("numpy_quaddtype")
    except (OSError, subprocess.SubprocessError, ImportError):
        return False
    return probe.returncode == 0


@cache
def quadruple() -> Numbers:
    """113-bit numbers; raises `Refused` where they are not usable."""
    if not usable():
        raise Refused("numpy-quaddtype is absent or does not work here")
    dtype = import_module("numpy_quaddtype").QuadPrecDType()

    def lift(a: np.ndarray) -> np.ndarray:
        return np.asarray(a.astype(dtype))

    rows: dict[Any, Row] = {ufunc: _checked(ufunc, dtype) for ufunc in NATIVE}
    rows |= {ufunc: ufunc for ufunc in (np.maximum, np.minimum)}
    rows |= {ufunc: _borrowed(rule, dtype) for ufunc, rule in multiprecise(40).ufuncs.items() if ufunc not in rows}
    # SLEEF's tanh takes ten times as long.
    rows[np.tanh] = lambda x: _tanh(x, lift)
    rows[np.matmul] = matmul
    constants = {"pi": np.arctan(lift(np.ones(()))) * 4, "ln2": np.log(lift(np.full((), 2.0)))}
    return Numbers(
        name="quad", dtype=dtype, lift=lift, lower=lambda a: np.asarray(a.astype(np.float64)), ufuncs=rows,
        constant=constants.__getitem__, shake=shake,
    )  # fmt: skip


def shake(payload: Any, rng: np.random.Generator) -> Any:
    """The last five bits of every number replaced by others; zeros and infinities as they are."""
    a = np.array(payload, ndmin=1, order="C")
    words = a.view(np.uint64).reshape(*a.shape, 2)
    size = words[..., 1] & EXPONENT
    inexact = (size != 0) & (size != EXPONENT)
    words[..., 0] ^= rng.integers(0, 32, a.shape, dtype=np.uint8) * inexact
    return a.reshape(np.shape(payload))


def _checked(ufunc: Any, dtype: np.dtype) -> Row:
    def row(*operands: Any) -> Any:
        result = ufunc(*operands)
        # A row that answered in float64 would be believed to 113 bits.
        if getattr(result, "dtype", dtype) not in (dtype, np.dtype(bool)):
            raise Refused(f"{ufunc.__name__} of quads became {result.dtype}")
        return result

    return row


def _tanh(x: Any, lift: Row) -> Any:
    e = np.expm1(-2 * np.abs(x))
    return np.copysign(-e / (e + lift(np.full((), 2.0))), x)


def matmul(a: np.ndarray, b: np.ndarray) -> Any:
    """A product of stacks of matrices as a sum of outer products of columns and rows."""
    left = a[None, :] if a.ndim == 1 else a
    right = b[:, None] if b.ndim == 1 else b
    if left.ndim < 2 or right.ndim < 2 or left.shape[-1] != right.shape[-2]:
        raise ValueError(f"matmul of shapes {a.shape} and {b.shape}")
    stack = np.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    total = np.zeros((*stack, left.shape[-2], right.shape[-1]), a.dtype)
    product = np.empty_like(total)
    for j in range(left.shape[-1]):
        np.multiply(left[..., :, j, None], right[..., j, None, :], out=product)
        np.add(total, product, out=total)
    total = total[..., 0, :] if a.ndim == 1 else total
    return total[..., 0] if b.ndim == 1 else total


def _borrowed(rule: Row, dtype: np.dtype) -> Row:
    """A function of mpmath on quads, entry by entry, rounded once."""

    def row(*operands: Any) -> Any:
        result = np.asarray(rule(*(to_mpf(operand) for operand in operands)))
        return result if result.dtype == bool else from_mpf(result, dtype)

    return row


def to_mpf(a: np.ndarray) -> np.ndarray:
    """The same numbers as mpmath's, exactly, read from the bits of IEEE binary128."""
    words = np.frombuffer(np.ascontiguousarray(a).tobytes(), dtype="<u8").reshape(-1, 2)
    read = elementwise(_read, 2)
    return np.asarray(read(words[:, 0].astype(object), words[:, 1].astype(object)), dtype=object).reshape(a.shape)


def _read(low: int, high: int) -> Any:
    context = multiprecise(40).constant("pi").context
    sign, exponent = -1 if high >> 63 else 1, (high >> 48) & 0x7FFF
    fraction = ((high & 0xFFFFFFFFFFFF) << 64) | low
    if exponent == 0x7FFF:
        return context.nan if fraction else sign * context.inf
    whole = fraction if exponent == 0 else fraction | 1 << 112
    return context.ldexp(context.mpf(sign * whole), max(exponent, 1) - BIAS)


def from_mpf(a: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Numbers of mpmath in quad, rounded once to the nearest."""
    raw = b"".join(_bits(x).to_bytes(16, "little") for x in a.reshape(-1))
    return np.frombuffer(raw, dtype).reshape(a.shape).copy()


def _bits(x: Any) -> int:
    sign, mantissa, exponent, count = (int(part) for part in x._mpf_)
    if not mantissa:  # zero, or what mpmath writes as an exponent without a mantissa
        special = {0.0: 0, math.inf: INFINITE, -math.inf: NEGATIVE | INFINITE}
        return special.get(float(x), INFINITE | 1)
    shift = max(exponent + count - BITS, 1 - BIAS) - exponent
    whole = mantissa << -shift if shift <= 0 else _rounded(mantissa, shift)
    # A mantissa that rounded up to the next power of two carries into the exponent by itself.
    bits = min(((exponent + shift + BIAS - 1) << 112) + whole, INFINITE)
    return NEGATIVE | bits if sign else bits


def _rounded(mantissa: int, shift: int) -> int:
    whole, rest, half = mantissa >> shift, mantissa & ((1 << shift) - 1), 1 << (shift - 1)
    return whole + (rest > half or (rest == half and whole & 1))
