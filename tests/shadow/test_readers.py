"""What the calls of each checker ask, and that it is judged: right ones pass, wrong ones fail."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from gradverify.shadow.checkers import CHECKERS
from gradverify.shadow.findings import PASSED, Kind, recheck


def kind(label: str, *call) -> tuple[Kind, int]:
    checker = next(checker for checker in CHECKERS if checker.label == label)
    found = recheck(checker, "here:1", PASSED, call)
    assert not found.reason, found.reason
    return found.kind, len(found.reports)


class TestTorch:
    torch = pytest.importorskip("torch")

    def wrong(self, factor: float):
        from tests.torch_functions import elementwise

        return elementwise(lambda x: x**2, lambda x: factor * x)

    def x(self, **keywords):
        return self.torch.tensor([0.3, -0.7, 1.1], dtype=self.torch.float64, requires_grad=True, **keywords)

    def test_gradcheck_takes_a_tensor_or_a_tuple(self) -> None:
        assert kind("torch gradcheck", (self.torch.tanh, self.x()), {}) == (Kind.AGREED, 1)
        assert kind("torch gradcheck", (self.wrong(2.0), (self.x(),)), {}) == (Kind.AGREED, 1)
        assert kind("torch gradcheck", (self.wrong(2.0009), (self.x(),)), {"eps": 1e-4}) == (Kind.MISSED, 1)

    def test_gradcheck_asks_only_what_requires_a_gradient(self) -> None:
        constant = self.x().detach()
        call = (lambda x, c: self.wrong(1.0)(c) * x, (self.x(), constant)), {"check_forward_ad": True}
        assert kind("torch gradcheck", *call) == (Kind.AGREED, 1)

    def test_gradgradcheck_asks_the_pullback(self) -> None:
        assert kind("torch gradgradcheck", (self.torch.tanh, self.x()), {}) == (Kind.AGREED, 1)
        assert kind("torch gradgradcheck", (self.torch.tanh, (self.x(),), self.x()), {}) == (Kind.AGREED, 1)

        def once(x):
            return x * self.wrong(1.99)(x)

        assert kind("torch gradgradcheck", (once, (self.x(),)), {}) == (Kind.MISSED, 1)

    def test_the_random_state_stays(self) -> None:
        before = self.torch.random.get_rng_state()
        kind("torch gradgradcheck", (self.torch.tanh, self.x()), {})
        assert self.torch.equal(before, self.torch.random.get_rng_state())


class TestAutograd:
    test_util = pytest.importorskip("autograd.test_util")
    anp = pytest.importorskip("autograd.numpy")

    def test_the_operator_and_its_call_make_one_question_an_order(self) -> None:
        ask = partial(kind, "autograd check_grads")
        assert ask((self.anp.tanh,), {}, (0.3,), {}) == (Kind.AGREED, 2)
        assert ask((self.anp.sum,), {"modes": ["rev"], "order": 1}, (np.ones((2, 3)),), {"axis": 0}) == (Kind.AGREED, 1)
        assert ask((self.anp.dot, (0, 1)), {"order": 2}, (np.eye(2), np.ones(2)), {}) == (Kind.AGREED, 2)
        assert ask((self.anp.dot,), {"argnum": 1, "order": 1, "modes": ["fwd"]}, (np.eye(2), np.ones(2)), {}) == (Kind.AGREED, 1)

    def test_whole_numbers_are_numbers(self) -> None:
        call = (lambda x: self.anp.sum(x**2.0),), {"order": 1, "modes": ["rev"]}
        assert kind("autograd check_grads", *call, (3,), {}) == (Kind.AGREED, 1)
        assert kind("autograd check_grads", *call, (np.arange(3),), {}) == (Kind.AGREED, 1)

    def test_a_wrong_rule_is_missed(self) -> None:
        from autograd.extend import defvjp, primitive

        square = primitive(lambda x: x**2)
        defvjp(square, lambda _, x: lambda dy: 2.0000001 * x * dy)
        assert kind("autograd check_grads", (square,), {"modes": ["rev"], "order": 1}, (0.3,), {}) == (Kind.MISSED, 1)


class TestJax:
    jax = pytest.importorskip("jax")

    def test_one_question_an_order(self) -> None:
        f = lambda x: self.jax.numpy.sin(x).sum()  # noqa: E731
        assert kind("jax check_grads", (f, (np.ones(2, np.float32),), 1), {}) == (Kind.AGREED, 1)
        assert kind("jax check_grads", (f, (np.ones(2, np.float32),)), {"order": 2, "modes": ["rev"]}) == (Kind.AGREED, 2)

    def test_a_wrong_rule_is_missed(self) -> None:
        @self.jax.custom_vjp
        def square(x):
            return x**2

        square.defvjp(lambda x: (x**2, x), lambda x, dy: (2.001 * x * dy,))
        call = (square, (self.jax.numpy.ones(2),)), {"order": 1, "modes": ["rev"]}
        assert kind("jax check_grads", *call) == (Kind.MISSED, 1)


class TestScipy:
    def test_further_arguments_go_to_both(self) -> None:
        call = (lambda x, a: a * np.sum(x**2), lambda x, a: 2 * a * x, [1.0, 2.0], 3.0), {"epsilon": 1e-6}
        assert kind("scipy check_grad", *call) == (Kind.AGREED, 1)

    def test_a_vector_has_a_jacobian(self) -> None:
        call = (lambda x: x**2, lambda x: np.diag(2.0001 * x), [1.0, 2.0]), {}
        assert kind("scipy check_grad", *call) == (Kind.MISSED, 1)
