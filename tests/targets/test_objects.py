"""Where objects keep parameters and gradients, beyond attributes beside each other."""

from __future__ import annotations

import copy
import sys
import types

import numpy as np
import pytest

import gradverify as gv

RNG = np.random.default_rng(8)
X, SQUARE = RNG.normal(size=(3, 3)), RNG.normal(size=(3, 3))
FAIL, PASS = gv.Verdict.FAIL, gv.Verdict.PASS


class Square:
    """Input, weight and upstream gradient all have one shape: only the names say whose gradient each is."""

    def __init__(self, k=1.0):
        self.W, self.b, self.k = SQUARE.copy(), np.ones(3), k

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, g):
        dW, db, dx = self.k * self.x.T @ g, g.sum(0), g @ self.W.T
        return dW, db, dx


class Steps:
    """A step of size 0.01 written into the backward, and what the step is taken from returned."""

    def __init__(self, name):
        self.name = name
        setattr(self, name, SQUARE.copy())

    def forward(self, x):
        self.x = x
        return x @ getattr(self, self.name)

    def backward(self, g):
        own = getattr(self, self.name)
        dx = g @ own.T
        own -= 0.01 * self.x.T @ g
        return dx


class Counted:
    """A float that is no parameter: nothing leaves a gradient of it."""

    def __init__(self):
        self.rate, self.drate, self.scale = 0.5, 0.25, 2.0

    def forward(self, x):
        return self.scale * x

    def backward(self, g):
        return self.scale * g


class Boxed:
    """Numbers and their gradients in two dictionaries."""

    def __init__(self, k):
        self.params, self.grads, self.k = {"slope": 0.3}, {"slope": 0.0}, k

    def forward(self, x):
        self.x = x
        return self.params["slope"] * x**2

    def backward(self, g):
        self.grads["slope"] = self.k * np.sum(g * self.x**2)
        return 2 * g * self.params["slope"] * self.x


class Keyed(Boxed):
    """``get_params()`` and ``get_grads()`` with the keys of a dictionary that is made anew each time."""

    def __init__(self, k):
        self.w, self.k = SQUARE.copy(), k

    def forward(self, x):
        self.x = x
        return x @ self.w

    def backward(self, g):
        self.kept = self.k * self.x.T @ g
        return g @ self.w.T

    def get_params(self):
        return {"weight": self.w}

    def get_grads(self):
        return {"weight": self.kept}


def failures(target, **options):
    return {c.wrt for c in gv.check(target, X, **options).checks if c.verdict is FAIL}


@pytest.mark.parametrize(("k", "failed"), [(1.0, set()), (2.0, {"W"})])
def test_the_names_in_a_return_go_before_positions(k, failed):
    assert failures(Square(k)) == failed


def test_a_pair_returns_its_gradients_in_the_order_that_its_names_say():
    def backward(dout, cache):
        x, w = cache
        dw, dx = x.T @ dout, dout @ w.T
        return dw, dx

    assert gv.check(gv.pair(lambda x, w: (x @ w, (x, w)), backward), X, SQUARE).ok


def test_a_backward_that_steps_is_not_asked_twice():
    assert failures(Steps("W")) == set()


def test_a_backward_that_overwrites_what_is_no_weight_spoils_the_next_one():
    assert failures(Steps("constant")) == {"x"}


@pytest.mark.parametrize(("k", "failed"), [(1.0, set()), (1.5, {"params.slope"})])
def test_numbers_in_a_dictionary_are_parameters(k, failed):
    assert failures(Boxed(k)) == failed


def test_a_number_without_a_fresh_gradient_is_none():
    assert {c.wrt for c in gv.check(Counted(), X).checks} == {"x"}


@pytest.mark.parametrize(("k", "failed"), [(1.0, set()), (1.5, {"w"})])
def test_methods_hand_out_parameters_and_gradients_by_key(k, failed):
    assert failures(Keyed(k)) == failed


def test_the_object_itself_keeps_its_numbers():
    layer = Boxed(1.0)
    gv.check(layer, X)
    assert layer.params == {"slope": 0.3}


class Appends:
    """Parameters made by the first forward, inputs appended by each, the first of them read back."""

    def __init__(self):
        self.inputs, self.params, self.seen = [], [], {"x": []}

    def forward(self, x):
        if not self.params:
            self.params.append(SQUARE.copy())
        self.inputs.append(x)
        self.seen["x"].append(x)
        return np.tanh(x @ self.params[0])

    def backward(self, g):
        x = self.inputs[0]
        g = g * (1 - np.tanh(self.seen["x"][0] @ self.params[0]) ** 2)
        self.grads = [x.T @ g]
        return g @ self.params[0].T


def test_what_a_lazy_layer_has_appended_once_answers_for_no_other_point():
    report = gv.check(Appends(), X)
    assert report.ok, str(report)
    assert {c.wrt for c in report.checks} == {"x", "params[0]"}


def with_own_generator(name, draw):
    """A module with a generator of its own, as ``rng = np.random.default_rng()`` at its top leaves it."""
    module = types.ModuleType(name)
    exec(
        "import numpy as np\n"
        f"rng = {draw}\n"
        "class Dropout:\n"
        "    factor = 1.0\n"
        "    def forward(self, x):\n"
        "        self.mask = rng.random(x.shape) > 0.5\n"
        "        return x * self.mask\n"
        "    def backward(self, dy):\n"
        "        return self.factor * dy * self.mask\n"
        "class Redrawing(Dropout):\n"
        "    def backward(self, dy):\n"
        "        return dy * (rng.random(dy.shape) > 0.5)\n",
        vars(module),
    )
    return module


@pytest.mark.parametrize("draw", ["np.random.default_rng(3)", "np.random.RandomState(3)"])
def test_a_generator_of_a_module_draws_the_same_at_each_call(monkeypatch, draw):
    module = with_own_generator("of_its_own", draw)
    monkeypatch.setitem(sys.modules, "of_its_own", module)
    right, wrong, redrawn = module.Dropout(), module.Dropout(), module.Redrawing()
    wrong.factor = 1.001
    twin = copy.deepcopy(module.rng)
    assert gv.check(gv.layer(right), X).verdict is PASS
    assert np.array_equal(module.rng.random(5), twin.random(5))
    assert [gv.check(gv.layer(layer), X).verdict for layer in (wrong, redrawn)] == [FAIL, FAIL]


class Handing:
    """Returns nothing; what it leaves for another input may be the same numbers."""

    def __init__(self, k=1.0):
        self.W, self.k = SQUARE.copy(), k

    def forward(self, x):
        self.x, self.output = x, x @ self.W

    def backward(self, dvalues):
        self.dW = self.x.T @ dvalues
        self.dinputs = self.k * dvalues @ self.W.T


@pytest.mark.parametrize(("k", "verdict"), [(1.0, PASS), (1.1, FAIL)])
def test_a_layer_that_was_used_before_leaves_its_gradients_anew(k, verdict):
    layer = Handing(k)
    layer.forward(2 * X)
    layer.backward(np.ones((3, 3)))
    report = gv.check(gv.layer(layer), X)
    assert (report.verdict, {c.wrt for c in report.checks}) == (verdict, {"x", "W"})


class Whole:
    """All parameters are one array; `grad` is the input's gradient, `grads` theirs."""

    def __init__(self, k=1.0):
        self.params, self.k = np.array([0.5, 1.5, 2.5]), k

    def forward(self, x):
        self.x = x
        return x * self.params

    def backward(self, dy):
        self.grads = self.k * np.sum(dy * self.x, axis=0)
        self.grad = dy * self.params
        return self.grad


@pytest.mark.parametrize(("k", "verdict"), [(1.0, PASS), (1.1, FAIL)])
def test_the_gradient_of_one_array_of_parameters_has_its_shape(k, verdict):
    report = gv.check(gv.layer(Whole(k)), RNG.normal(size=(5, 3)))
    assert (report.verdict, {c.wrt for c in report.checks}) == (verdict, {"x", "params"})


class Plural:
    """``weight_gradients`` of ``weights``, one word in the singular."""

    def __init__(self, k=1.0):
        self.weights, self.biases, self.k = SQUARE.copy(), np.ones(3), k

    def forward(self, x):
        self.x = x
        return x @ self.weights + self.biases

    def backward(self, dy):
        self.weight_gradients, self.bias_gradients = self.k * self.x.T @ dy, self.k * dy.sum(axis=0)
        return dy @ self.weights.T


@pytest.mark.parametrize(("k", "verdict"), [(1.0, "pass"), (1.1, "fail")])
def test_singular_and_plural_are_one_word(k, verdict):
    report = gv.check(gv.layer(Plural(k)), X)
    assert {c.wrt: str(c.verdict) for c in report.checks} == {"x": "pass", "weights": verdict, "biases": verdict}
