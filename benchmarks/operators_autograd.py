"""Primitives of HIPS/autograd, each checked at a point of its own, beside `autograd.test_util.check_grads`.

    python benchmarks/operators_autograd.py

Writes reports/operators-autograd.md.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.scipy import linalg, special, stats
from autograd.test_util import check_grads
from operatortables import ABSENT, BRANCH, Outcome, Row, judge, write

warnings.simplefilter("ignore")
RNG = np.random.default_rng(2026)


def drawn(*shape: int) -> Any:
    """Normal numbers."""
    return RNG.standard_normal(shape)


def within(low: float, high: float, *shape: int) -> Any:
    """Uniform numbers."""
    return RNG.uniform(low, high, shape)


def of(names: str, make: Callable[[], tuple[Any, ...]], home: Any, prefix: str) -> Iterator[Row]:
    """Primitives of one home at one kind of point."""
    for name in names.split():
        yield Row(f"{prefix}{name}", getattr(home, name), make())


def rows() -> Iterator[Row]:
    """Every row, in the order of the table."""
    yield from of("abs arctan arcsinh cos cosh exp exp2 expm1 negative sin sinc sinh square tan tanh sign floor ceil absolute fabs "
                  "deg2rad rad2deg degrees radians nan_to_num", lambda: (drawn(3, 2),), anp, "np.")
    yield from of("log log10 log1p log2 sqrt reciprocal", lambda: (within(0.4, 3, 3, 2),), anp, "np.")
    yield from of("arccos arcsin arctanh", lambda: (within(-0.9, 0.9, 3),), anp, "np.")
    yield from of("arccosh", lambda: (within(1.2, 3, 3),), anp, "np.")
    yield from of("add subtract multiply maximum minimum fmax fmin logaddexp logaddexp2 arctan2 hypot", lambda: (drawn(3, 2), drawn(3, 2)), anp, "np.")
    yield from of("divide power mod remainder true_divide", lambda: (within(0.5, 3, 3), within(0.6, 2, 3)), anp, "np.")
    yield from of("sum mean prod var std max min amax amin cumsum ravel transpose fliplr flipud rot90 tril triu diag diagonal "
                  "sort diff trace squeeze atleast_3d", lambda: (drawn(3, 3),), anp, "np.")
    yield from of("dot matmul inner outer kron tensordot", lambda: (drawn(3, 3), drawn(3, 3)), anp, "np.")
    yield from of("cross", lambda: (drawn(2, 3), drawn(2, 3)), anp, "np.")
    yield from of("inv det slogdet pinv cholesky_ eigvalsh_ norm".replace("cholesky_ eigvalsh_ ", ""), lambda: (drawn(3, 3),), anp.linalg, "np.linalg.")
    yield from of("solve", lambda: (drawn(3, 3), drawn(3, 2)), anp.linalg, "np.linalg.")
    yield from of("fft ifft fft2 fftn", lambda: (drawn(2, 4),), anp.fft, "np.fft.")
    yield from of("gammaln digamma gamma erf erfc expit logsumexp i0 i1 j0 j1 y0 y1", lambda: (within(0.5, 2, 3),), special, "special.")
    yield from of("erfinv", lambda: (within(-0.8, 0.8, 3),), special, "special.")
    yield from of("erfcinv logit", lambda: (within(0.2, 0.8, 3),), special, "special.")
    for kind in ("norm", "chi2"):
        more = (3.0,) if kind == "chi2" else ()
        yield Row(f"stats.{kind}.logpdf", getattr(stats, kind).logpdf, (within(0.5, 2, 3), *more))
    yield Row("stats.norm.cdf", stats.norm.cdf, (drawn(3), drawn(3), within(0.5, 2, 3)))
    yield Row("stats.t.logpdf", stats.t.logpdf, (drawn(3), within(2, 4, 3)))
    functions = {
        "reshape": lambda x: anp.reshape(x, 9), "where": lambda x: anp.where(x > 0, x, x**2), "clip": lambda x: anp.clip(x, -0.5, 0.5), "indexing": lambda x: x[anp.array([0, 2, 2])],
        "slicing": lambda x: anp.sin(x[::2, 1:]), "concatenate": lambda x: anp.concatenate((x, x**2)), "stack": lambda x: anp.stack([x, x]), "vstack": lambda x: anp.vstack((x, x)), "hstack": lambda x: anp.hstack((x, x)),
        "array of parts": lambda x: anp.array([x[0, 0], x[1, 1] ** 2]), "tile": lambda x: anp.tile(x, 2), "repeat": lambda x: anp.repeat(x, 2), "roll": lambda x: anp.roll(x, 1, axis=0),
        "einsum": lambda x: anp.einsum("ij,jk->ki", x, x), "moveaxis": lambda x: anp.moveaxis(x, 0, 1), "rollaxis": lambda x: anp.rollaxis(x, 1), "swapaxes": lambda x: anp.swapaxes(x, 0, 1), "expand_dims": lambda x: anp.expand_dims(x, 1),
        "split": lambda x: anp.split(x, 3)[1], "pad": lambda x: anp.pad(x, 1, "constant"), "power 3": lambda x: anp.array(x) ** 3, "max, an axis": lambda x: anp.max(x, axis=1), "std, an axis": lambda x: anp.std(x, axis=0), "prod, an axis": lambda x: anp.prod(x, axis=0),
        "partition": lambda x: anp.partition(x[0], 1), "select": lambda x: anp.select([x > 0, x < 0], [x**2, x]), "broadcast_to": lambda x: anp.broadcast_to(x, (2, 3, 3)), "average": lambda x: anp.mean(x * x, axis=(0, 1)),
        "eigvalsh": lambda x: anp.linalg.eigh(x + x.T)[0], "svd": lambda x: anp.linalg.svd(x)[1], "cholesky": lambda x: anp.linalg.cholesky(x @ x.T + 3 * anp.eye(3)),
        "sqrtm": lambda x: linalg.sqrtm(x @ x.T + 3 * anp.eye(3)), "solve_triangular": lambda x: linalg.solve_triangular(x + 3 * anp.eye(3), x[0]),
    }  # fmt: skip
    for name, function in functions.items():
        yield Row(name, function, (drawn(3, 3),))
    z = drawn(3) + 1j * drawn(3)
    for name in ("abs", "angle", "conj", "exp", "log", "sin", "tanh", "sqrt", "real", "imag"):
        yield Row(f"complex np.{name}", getattr(anp, name), (z,))


KNOWN = dict.fromkeys(("np.diagonal", "np.sort", "np.outer", "tile", "broadcast_to", "svd"), ABSENT) | {
    "clip": BRANCH, "stats.chi2.logpdf": BRANCH,
    "np.sort": "autograd: its forward mode takes the sorted positions as if the array had one axis, and answers with shape (3, 3, 3)",
}  # fmt: skip


def peer(row: Row) -> tuple[str, float]:
    """What autograd's own check_grads says, first order, in reverse."""
    started = time.process_time()
    try:
        check_grads(row.target, modes=["rev"], order=1)(*row.inputs)
        said = "passes"
    except AssertionError:
        said = "fails"
    except Exception as error:  # it refuses some functions in its own way
        said = type(error).__name__
    return said, time.process_time() - started


def main() -> None:
    """Run every row and write the page."""
    table, outcomes = [replace(row, known=KNOWN.get(row.name, row.known)) for row in rows()], []
    for row in table:
        own, (said, seconds) = judge(row), peer(row)
        outcomes.append(Outcome(own.name, own.verdict, own.told, own.seconds, (said, f"{seconds:.2f}")))
        print(outcomes[-1], flush=True)
    write(Path("reports/operators-autograd.md"), "Primitives of autograd", "python benchmarks/operators_autograd.py",
          [f'autograd {version("autograd")}, `search="none"`.'], outcomes, {row.name: row for row in table}, ("check_grads", "s"))


if __name__ == "__main__":
    main()
