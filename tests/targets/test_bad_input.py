"""What makes no sense gets a message that names the argument; what the target does wrong gets a verdict."""

from __future__ import annotations

import re

import numpy as np
import pytest

import gradverify as gv

X = np.array([0.3, -0.7, 1.1])
SIN = gv.function(np.sin, derivative=np.cos)


class NoBackward:
    def forward(self, x):
        return x


INVALID = [
    (lambda: gv.check(np.sin, X), TypeError, "nothing to check: it claims no derivative"),
    (lambda: gv.check(NoBackward(), X), TypeError, "nothing to check: it claims no derivative"),
    (lambda: gv.check(NoBackward, X), TypeError, "a class; give an instance"),
    (lambda: gv.check(3, X), TypeError, "neither callable nor an object with a forward"),
    (lambda: gv.check(SIN, np.arange(3)), TypeError, "nothing to check"),
    (lambda: gv.check(SIN, X, wrt="y"), ValueError, "wrt='y': no such leaf"),
    (lambda: gv.check(SIN, X, outputs="loss"), ValueError, "outputs='loss': no such leaf"),
    (lambda: gv.check(SIN, X, order=2), ValueError, "order=2: .* claims no second derivative"),
    (lambda: gv.check(gv.function(np.sum, hessian=lambda x: np.zeros((3, 3))), X, order=3), ValueError, "no third derivative"),
    (lambda: gv.check(SIN, X, order=4), ValueError, "order=4: must be one of"),
    (lambda: gv.check(SIN, X, mode="forwards"), ValueError, "mode='forwards': must be one of"),
    (lambda: gv.check(SIN, X, mode="forward"), ValueError, "claims no derivative in this mode"),
    (lambda: gv.check(SIN, X, search="all"), ValueError, "search='all': must be one of"),
    (lambda: gv.check(SIN, X, require=0), ValueError, "require=0: must be a finite number > 0"),
    (lambda: gv.check(SIN, X, tolerate=-1), ValueError, "tolerate=-1: must be a finite number >= 0"),
    (lambda: gv.check(SIN, X, seed=1.5), ValueError, "seed=1.5: must be a non-negative integer"),
    (lambda: gv.check(SIN, X, tolerance=1e-3), TypeError, "tolerance=: no such option"),
    (lambda: gv.check(SIN, X, domain={"y": "positive"}), ValueError, "domain='y': no such leaf"),
    (lambda: gv.check(SIN, X, domain={"x": "cube"}), ValueError, "must be one of"),
    (lambda: gv.check(SIN, np.array([np.nan])), ValueError, "x: holds NaN or infinity"),
    (lambda: gv.check(gv.function(lambda x: None, derivative=np.cos), X), TypeError, "no floating array"),
    (lambda: gv.check(gv.function(lambda x: "a", derivative=np.cos), X), TypeError, "out: str"),
    (lambda: gv.check(gv.function(lambda x: x > 0, derivative=np.cos), X), TypeError, "out: bool array"),
    (lambda: gv.function(np.sin), TypeError, "no derivative given"),
    (lambda: gv.function(derivative=np.cos), TypeError, "no forward given"),
    (lambda: gv.function(np.sin, derivative=3), TypeError, "derivative=3: must be callable"),
    (lambda: gv.pair(np.sin, None), TypeError, "backward=None: must be callable"),
    (lambda: gv.layer(NoBackward(), backward="back"), TypeError, "backward='back': NoBackward has no such method"),
    (lambda: gv.layer(NoBackward(), params=["a"], grads=["b", "c"]), ValueError, "must name one gradient for each"),
    (lambda: gv.derivative(np.sin, X), ValueError, "v=None: a direction of shape"),
    (lambda: gv.derivative(np.sin, X, X), TypeError, "must be one real number"),
    (lambda: gv.derivative(np.sin, 3), TypeError, "must be real floating numbers"),
    (lambda: gv.derivative(np.sin, np.nan), ValueError, "all finite"),
    (lambda: gv.derivative(np.sum, X, np.zeros(3)), ValueError, "must be finite and not zero"),
    (lambda: gv.derivative(np.sum, X, np.ones(2)), ValueError, "must have that of x"),
    (lambda: gv.derivative(np.sum, np.zeros(0), np.zeros(0)), ValueError, "at least one number"),
    (lambda: gv.derivative(np.sin, 1.0, oracle="guess"), ValueError, "must be one of"),
    (lambda: gv.derivative(np.sin, np.inf), ValueError, "all finite"),
    (lambda: gv.derivative(np.sin, "one"), TypeError, "must be real floating numbers"),
    (lambda: gv.derivative(3, 1.0), TypeError, "f=3: must be a function"),
    (lambda: gv.derivative(lambda x: x[:0], X, X), TypeError, "must be one real number; it is ndarray of shape \\(0,\\)"),
    (lambda: gv.derivative(lambda x: np.sum(x) + 0j, X, X), TypeError, "it is complex128"),
    (lambda: gv.derivative(lambda x: "1.0", X, X), TypeError, "it is str"),
    (lambda: gv.derivative(lambda x: None, X, X), TypeError, "it is NoneType"),
    (lambda: gv.derivative(lambda x: 3, X, X), TypeError, "it is int"),
    (lambda: gv.derivative(lambda x: 1 / 0, X, X), ZeroDivisionError, "division by zero"),
    (lambda: gv.derivative(np.sum, X > 0, X), TypeError, "not bool"),
    (lambda: gv.derivative(np.sum, X + 1j, X), TypeError, "not complex128"),
    (lambda: gv.derivative(np.sum, X.astype(object), X), TypeError, "not object"),
    (lambda: gv.derivative(np.sum, [[1.0], [1.0, 2.0]]), ValueError, "x=.*must be an array of numbers"),
    (lambda: gv.derivative(np.sum, np.ma.array(X, mask=X > 0), X), TypeError, "x: must not be a masked array"),
    (lambda: gv.derivative(np.sum, np.array([1.0, -np.inf]), np.ones(2)), ValueError, "all finite"),
    (lambda: gv.derivative(np.sum, X, X * np.nan), ValueError, "v=.*must be finite"),
    (lambda: gv.derivative(np.sum, X, X * 1j), TypeError, "v=.*must be real numbers, not complex128"),
    (lambda: gv.derivative(np.sum, X, "abc"), TypeError, "v=.*must be real numbers"),
    (lambda: gv.derivative(np.sum, X, [[1.0], [1.0, 2.0]]), ValueError, "v=.*must be an array of numbers"),
    (lambda: gv.derivative(np.sin, 1.0, order=1.0), ValueError, "order=1.0: must be 1, 2 or 3"),
    (lambda: gv.derivative(np.sin, 1.0, oracle=None), ValueError, "oracle=None: must be one of"),
    (lambda: gv.derivative(np.sin, 1j), TypeError, "must be real floating numbers"),
    (lambda: gv.derivative(np.sin, 1.0, np.nan), ValueError, "must be finite and not zero"),
    (lambda: gv.derivative(np.sin, 1.0, order=4), ValueError, "must be 1, 2 or 3"),
    (lambda: gv.derivative(np.sum, X, np.zeros((2, 3)), order=2), ValueError, "must be finite and not zero"),
    (lambda: gv.derivative(np.sum, X, np.ones((3, 3)), order=2), ValueError, "must have that of x"),
    (lambda: gv.derivative(lambda x: "a", 1.0), TypeError, "must be one real number"),
    (lambda: gv.derivative(lambda x: x * 1j, 1.0), TypeError, "must be one real number"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), INVALID, ids=[m for *_, m in INVALID])
def test_nonsense_is_refused_by_name(call, error, message):
    with pytest.raises(error, match=re.compile(message)):
        call()


def test_the_first_plain_forward_raises_as_it_is():
    def forward(x):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        gv.check(gv.function(forward, derivative=np.cos), X)


def test_an_exception_in_the_backward_is_an_undecided_check_with_its_traceback():
    def derivative(x):
        raise KeyError("mine")

    report = gv.check(gv.function(np.sin, derivative=derivative), X)
    assert report.verdict is gv.Verdict.INCONCLUSIVE
    assert report.checks[0].reason == "error"
    assert "KeyError: 'mine'" in report.checks[0].detail


def test_a_forward_that_is_not_finite_at_the_point_is_outside_its_domain():
    report = gv.check(gv.function(np.log, derivative=lambda x: 1 / x), -np.ones(3))
    assert (report.verdict, report.checks[0].reason) == (gv.Verdict.INCONCLUSIVE, "domain")


BROKEN = {
    "shape": gv.pair(lambda x: (np.sum(x**2), x), lambda dy, x: dy * 2 * x[:2]),
    "not-summed": gv.pair(lambda b: (np.ones((4, 3)) + b, None), lambda dy, _: dy),
    "mutated-upstream": gv.pair(lambda x: (np.maximum(x, 0), x > 0), lambda dy, m: np.multiply(dy, m, out=dy)),
    "mutated-input": gv.pair(lambda x: (np.multiply(x, 2, out=x) ** 2, x), lambda dy, x: 4 * dy * x),
    "nonfinite": gv.function(np.sin, derivative=lambda x: np.cos(x) / (x > 0)),
    "dtype": gv.function(np.sin, vjp=lambda x, u: (u * np.cos(x)).astype(np.float32)),
    "nonlinear": gv.pair(lambda x: (x**2, x), lambda dy, x: np.clip(2 * x * dy, -1e3, 1e3) + 1e-3 * dy**2),
}  # fmt: skip


@pytest.mark.parametrize("cause", BROKEN)
def test_a_broken_contract_fails_and_is_named(cause):
    report = gv.check(BROKEN[cause], X)
    assert report.verdict is gv.Verdict.FAIL
    names = {c.causes[0].name for c in report.checks if c.causes}
    assert cause in names or cause == "nonlinear", str(report)


def test_a_printing_forward_is_kept_quiet_and_noted(capsys):
    def forward(x):
        print("hello")
        return np.sin(x)

    report = gv.check(gv.function(forward, derivative=np.cos), X)
    assert report.ok
    assert not capsys.readouterr().out
    assert any("prints" in note for note in report.notes)


def test_empty_arrays_pass_and_a_wrong_shape_of_one_fails():
    empty = np.zeros((0, 3))
    assert gv.check(SIN, empty).ok
    wrong = gv.function(np.sin, vjp=lambda x, u: np.zeros((3, 0)))
    assert gv.check(wrong, empty).verdict is gv.Verdict.FAIL


def test_a_budget_that_is_too_small_is_said():
    report = gv.check(SIN, X, budget=4)
    assert (report.verdict, report.checks[0].reason) == (gv.Verdict.INCONCLUSIVE, "budget")


@pytest.mark.parametrize("region", ["symmetric", "spd"])
def test_a_gradient_that_is_right_only_for_symmetric_matrices_needs_the_domain(region):
    a = np.array([[2.0, 0.3], [0.3, 1.0]])
    trace = gv.function(lambda a: np.sum(a * a), gradient=lambda a: 2 * a.T + np.array([[0, 1], [-1, 0]]))
    assert gv.check(trace, a).verdict is gv.Verdict.FAIL
    assert gv.check(trace, a, domain={"a": region}).ok


def test_a_simplex_is_left_by_no_probe():
    def entropy(p):
        assert abs(p.sum() - 1) < 1e-6
        return -np.sum(p * np.log(p))

    assert gv.check(
        gv.function(entropy, gradient=lambda p: -np.log(p)), np.array([0.2, 0.3, 0.5]), domain={"p": "simplex"}
    ).ok
