"""Gaussian-process kernels and the log marginal likelihood, with their derivatives by the log of the hyperparameters.

    python examples/scikit_learn_gaussian_process.py

Matern kernels of an order other than 1/2, 3/2, 5/2 and infinity take one-sided differences with a step of 1e-10 for
their gradient. What that costs is found here, and shown by hand in reports/real-libraries.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from facts import Fact, show
from sklearn.datasets import load_diabetes
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process import kernels as gp

import gradverify as gv

EXACT = {
    "RBF": gp.RBF(1.3),
    "RBF, two length scales": gp.RBF([1.3, 0.7]),
    "Matern 1/2": gp.Matern(1.2, nu=0.5),
    "Matern 3/2": gp.Matern(1.2, nu=1.5),
    "Matern 5/2": gp.Matern(1.2, nu=2.5),
    "Matern 5/2, two length scales": gp.Matern([1.2, 0.8], nu=2.5),
    "Matern infinity": gp.Matern(1.2, nu=np.inf),
    "RationalQuadratic": gp.RationalQuadratic(1.1, 0.7),
    "ExpSineSquared": gp.ExpSineSquared(1.1, 2.3),
    "DotProduct": gp.DotProduct(0.8),
    "WhiteKernel": gp.WhiteKernel(0.3),
    "ConstantKernel": gp.ConstantKernel(1.7),
    "sum": gp.RBF(1.3) + gp.WhiteKernel(0.2),
    "product": gp.ConstantKernel(1.5) * gp.Matern(1.1, nu=1.5),
    "power": gp.RationalQuadratic(1.1, 0.7) ** 2,
    "sum of products": gp.ConstantKernel(2.0) * gp.RBF([1.0, 2.0]) + gp.DotProduct(0.8) ** 2 + gp.WhiteKernel(0.1),
}


def kernel_claim(kernel: gp.Kernel, X: np.ndarray) -> Any:
    """``K(theta)`` and its Jacobian, of shape (n, n, number of hyperparameters)."""
    return gv.function(value_and_jacobian=lambda theta: kernel.clone_with_theta(theta)(X, eval_gradient=True))


def likelihood_claim(kernel: gp.Kernel, X: np.ndarray, y: np.ndarray) -> Any:
    model = GaussianProcessRegressor(kernel, optimizer=None, alpha=1e-6).fit(X, y)
    return gv.function(value_and_grad=lambda theta: model.log_marginal_likelihood(theta, eval_gradient=True))


def facts() -> Iterator[Fact]:
    X = np.random.default_rng(0).normal(size=(6, 2))
    for name, kernel in EXACT.items():
        # The special values lie far outside the kernels' own bounds (1e-5, 1e5): exp(theta) overflows there.
        yield Fact(f"kernel {name}", gv.check(kernel_claim(kernel, X), kernel.theta, search="none"))
    general = gp.Matern(1.2, nu=0.7)
    report = gv.check(kernel_claim(general, X), general.theta, search="none")
    yield Fact("kernel Matern 0.7, by differences", report, shown="Matern")
    patients, progress = load_diabetes(return_X_y=True)
    X, y = 20 * patients[:25, 2:4], (progress[:25] - 150) / 80
    for name in ("RBF", "Matern 3/2", "RationalQuadratic", "sum of products"):
        kernel = EXACT[name] + gp.WhiteKernel(0.5)
        report = gv.check(likelihood_claim(kernel, X, y), kernel.theta, search="none")
        yield Fact(f"log marginal likelihood, {name}", report)


if __name__ == "__main__":
    show(facts())
