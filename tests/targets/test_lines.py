"""Along a line nothing is copied twice, and still every forward is the one of a point of its own."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest

import gradverify as gv
from gradverify.arrays import axpy
from gradverify.checking import make_options
from gradverify.targets import make_targets
from gradverify.targets.instances import share_memory

RNG = np.random.default_rng(5)
X = RNG.normal(size=(4, 3))


class Affine:
    """A layer whose bias starts at zero, with a counter that a forward moves on."""

    def __init__(self, w: Any = None) -> None:
        self.params = {"W": RNG.normal(size=(3, 3)) if w is None else w, "b": np.zeros(3)}
        self.grads: dict[str, Any] = {}
        self.calls = 0

    def forward(self, x: Any) -> Any:
        self.calls += 1
        self.x = x
        return x @ self.params["W"] + self.params["b"] * self.calls

    def backward(self, dy: Any) -> Any:
        self.grads = {"W": self.x.T @ dy, "b": dy.sum(axis=0) * self.calls}
        return dy @ self.params["W"].T


class Spoils(Affine):
    """A forward that overwrites its own parameter and its input."""

    def forward(self, x: Any) -> Any:
        y = super().forward(x)
        self.params["W"] *= 2.0
        x[...] = 0.0
        return y


class Looks(Affine):
    """The forward uses a view into the parameter, not the parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = deque([self.params["W"][:, :2]])

    def forward(self, x: Any) -> Any:
        self.x = x
        return x @ self.hidden[0]

    def backward(self, dy: Any) -> Any:
        self.grads = {"W": np.pad(self.x.T @ dy, ((0, 0), (0, 1))), "b": np.zeros(3)}
        return dy @ self.hidden[0].T


class Large(Affine):
    """Ten thousand parameters."""

    def __init__(self) -> None:
        super().__init__(RNG.normal(size=(100, 100)))
        self.params["b"] = np.zeros(100)


def _pair(x: Any, w: Any) -> tuple[Any, Any]:
    return x @ w, (x, w)


TARGETS = [
    (Affine(), (X,), "parameters in a dict, state that a forward moves on"),
    (Spoils(), (X,), "what a forward spoils is its own copy"),
    (Looks(), (X,), "a view into a parameter moves with it"),
    (gv.function(np.sin, derivative=np.cos), (X.astype(np.float32),), "rounded once, to the leaf's dtype"),
    (gv.pair(_pair, lambda dy, c: (dy @ c[1].T, c[0].T @ dy)), (X, X.T.copy()), "two functions"),
    (lambda x: (np.tanh(x), lambda dy: dy * (1 - np.tanh(x) ** 2)), (X,), "a function that returns its pullback"),
]


@pytest.mark.parametrize(("obj", "inputs", "note"), TARGETS, ids=lambda x: x if isinstance(x, str) else "")
def test_a_line_gives_what_the_forward_gives_at_the_moved_point(obj, inputs, note):
    (target,) = make_targets(obj, inputs, make_options({}))
    v = {n: RNG.normal(size=x.shape) for n, x in target.point.items()}
    along = target.line(target.point, v)
    for t in (0.0, 2.0**-3, 0.0):
        expected = target.forward(axpy(t, v, target.point))
        assert all(np.array_equal(y, expected[n]) for n, y in along(t).items())


def test_leaves_that_do_not_move_along_a_line_are_not_spoilt_by_the_run_before():
    (target,) = make_targets(Spoils(), (X,), make_options({}))
    along = target.line(target.point, {"x": np.ones_like(X)})
    assert np.array_equal(along(0.5)["out"], along(0.5)["out"])


def test_a_parameter_that_the_forward_sees_through_a_view_is_judged_by_what_the_view_computes():
    assert gv.check(Looks(), X, search="none").ok


def test_memory_is_shared_with_views_alone_wherever_they_are_held():
    plain, looks = Affine(), Looks()
    assert not share_memory(plain, plain.params.values())
    assert share_memory(looks, looks.params.values())


def test_arrays_cut_from_one_buffer_share_its_memory():
    flat = np.zeros(6)
    holder = {"a": flat[:3], "b": flat[3:]}
    assert share_memory(holder, holder.values())


def test_the_users_own_arrays_are_never_written_to():
    layer = Affine()
    layer.params["W"].flags.writeable = False
    assert gv.check(layer, X, search="none").ok


def test_a_large_layer_is_judged_entry_by_entry_in_a_dozen_forwards():
    report = gv.check(Large(), RNG.normal(size=(8, 100)), search="none")
    assert report.ok
    assert report.forwards <= 12
    assert all(c.entrywise is not None for c in report.checks)
