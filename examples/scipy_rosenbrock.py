"""SciPy's test function of optimization and its three hand-written derivatives.

    python examples/scipy_rosenbrock.py
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from facts import Fact, show
from scipy.optimize import rosen, rosen_der, rosen_hess, rosen_hess_prod

import gradverify as gv


def facts() -> Iterator[Fact]:
    points = {
        "the usual start": [-1.2, 1.0],
        "the minimum's edge": [1.0, 1.001, 0.999, 1.0, 1.002],
        "anywhere": [0.3, 2.0, -0.7, 1.1, -1.6, 0.4],
    }
    for name, values in points.items():
        x = np.array(values)
        by_matrix = gv.function(rosen, gradient=rosen_der, hessian=rosen_hess)
        by_product = gv.function(rosen, gradient=rosen_der, hvp=rosen_hess_prod)
        yield Fact(f"rosen_der, rosen_hess at {name}", gv.check(by_matrix, x, order=2))
        yield Fact(f"rosen_der, rosen_hess_prod at {name}", gv.check(by_product, x, order=2, search="none"))


if __name__ == "__main__":
    show(facts())
