"""Second derivatives that NumPy code claims: asymmetric ones, small ones, and where claims end."""

from __future__ import annotations

import numpy as np
import pytest

import gradverify as gv
from tests.higher_orders import X


def test_an_asymmetric_second_derivative_fails_below_what_differences_resolve():
    def value(x):  # `float` keeps foreign numbers out, the offset most digits from differences
        return 1e12 + np.sin(float(x[0]) * float(x[1]))

    def hessian(x):
        (a, b), s, c = x, np.sin(x[0] * x[1]), np.cos(x[0] * x[1])
        return np.array([[-b * b * s, c - a * b * s], [(c - a * b * s) * (1 + 1e-4), -a * a * s]])

    report = gv.check(gv.function(value, hessian=hessian), np.array([0.7, -1.3]), search="none")
    (check,) = (c for c in report.checks if c.order == 2)
    assert (check.verdict, check.reason) == (gv.Verdict.FAIL, "asymmetric"), str(report)


def test_numpy_claims_end_at_the_second_order():
    claim = gv.function(lambda x: np.sum(x**3), gradient=lambda x: 3 * x**2, hvp=lambda x, v: 6 * x * v)
    with pytest.raises(ValueError, match="claims no third derivative"):
        gv.check(claim, X[0], order=3)


def test_a_second_derivative_that_is_small_is_no_zero():
    claim = gv.function(lambda x: float(np.sum(x + 1e-9 * x**2)), gradient=lambda x: 1 + 2e-9 * x, hvp=lambda x, v: 0 * v)
    assert not gv.check(claim, X[0], search="none", oracle="finite").ok
