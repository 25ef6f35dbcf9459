"""What moving by a rounding unit shows: rounding is noise, a branch that moved residuals alone take is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradverify as gv
from gradverify.arrays import one_ulp, one_ulp_if_rounded
from gradverify.noise import sudden, without_branches

X = np.array([[-1.5, -0.2, 0.3], [0.7, -0.4, 2.0]])


class Clip:
    """A forward whose backward compares the saved result with the bounds, exactly."""

    bounds: tuple[float, ...] = (-0.5, 0.5)

    def forward(self, x: Any) -> Any:
        self.y = np.clip(x, -0.5, 0.5)
        return self.y

    def backward(self, dy: Any) -> Any:
        return dy * np.all([self.y != b for b in self.bounds], axis=0)


class OneSided(Clip):
    """The upper bound is forgotten."""

    bounds = (-0.5,)


class Tanh:
    """Cancels in saturation, where moved inputs change nothing."""

    def forward(self, x: Any) -> Any:
        self.y = np.tanh(x)
        return self.y

    def backward(self, dy: Any) -> Any:
        return dy * (1 - self.y**2)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_backward_that_compares_what_was_saved_passes(dtype):
    assert gv.check(Clip(), X.astype(dtype), search="none").ok


def test_a_wrong_one_that_does_so_fails():
    assert gv.check(OneSided(), X, search="none").verdict == "fail"


def test_cancellation_among_what_was_saved_is_noise():
    assert gv.check(Tanh(), np.array([0.3, 5.0, 12.0, 19.0]), search="none").verdict != "fail"


ROWS = [
    (1.0, 1.0, 0.0, 0.0, "at once, whatever the move: a branch"),
    (1e-9, 8e-9, 0.0, 1e-9, "in proportion, though inputs do not show it: cancellation"),
    (1.0, 1.0, 0.5, 1.0, "inputs show it too: the gradient is that sensitive"),
    (0.0, 0.0, 0.0, 0.0, "nothing"),
]


@pytest.mark.parametrize(("step", "wide", "quiet", "kept", "note"), ROWS, ids=[row[-1] for row in ROWS])
def test_what_is_left_of_a_spread(step, wide, quiet, kept, note):
    found = without_branches(*({"x": np.array([d])} for d in (step, wide, quiet)))
    assert found["x"] == kept


def test_a_rounding_is_not_sudden_unless_its_terms_cancel():
    value = {"x": np.array([1.0, 0.0])}
    assert not sudden({"x": np.array([1e-15, 1e-12])}, value, 2.0**-52)
    assert sudden({"x": np.array([0.0, 1e-3])}, value, 2.0**-52)


@pytest.mark.parametrize("dtype", ["float64", "float32", "longdouble"])
def test_several_units_are_several_times_one_whatever_the_dtype(dtype):
    x = np.ones(64, dtype)
    one, eight = (np.abs(one_ulp(x, 12345, 2.0**-64, times) - x) for times in (1.0, 8.0))
    assert np.all(eight == 8 * one)
    assert np.all(one > 0)


class Gate:
    """A mask that is kept in a coarser type than all else, in which it is exact."""

    factor = 1.0

    def forward(self, x: Any) -> Any:
        self.mask = (x > 0).astype(np.float32)
        return x * self.mask

    def backward(self, dy: Any) -> Any:
        return self.factor * dy * self.mask


class SlightlyOff(Gate):
    factor = 1 + 1e-9


@pytest.mark.parametrize(("layer", "verdict"), [(Gate, gv.Verdict.PASS), (SlightlyOff, gv.Verdict.FAIL)])
def test_what_a_coarser_type_holds_exactly_was_not_rounded(layer, verdict):
    assert gv.check(gv.layer(layer()), X).verdict is verdict


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_what_a_coarser_type_rounded_is_moved(dtype):
    rounded = np.tanh(np.linspace(-1, 1, 12)).astype(dtype)
    assert np.all(one_ulp_if_rounded(rounded, 3, 2.0**-53)[rounded != 0] != rounded[rounded != 0])
    exact = np.array([0, 1, -0.5, 3] * 4, dtype=dtype)
    assert np.array_equal(one_ulp_if_rounded(exact, 3, 2.0**-53), exact)
    assert not np.array_equal(one_ulp_if_rounded(exact[:1] + dtype(1), 3, 2.0**-53), exact[:1] + dtype(1))  # of one none can tell
