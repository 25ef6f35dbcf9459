"""The checkers that are heard, a row each; nothing here imports any of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Checker:
    """A function that judges gradients: the module that defines it, and who understands its calls.

    `questions` of the module `reader` turns a call into what gradverify is asked. A `late` checker
    returns a function, and only the call of that one is a check. One that returns a `number` leaves
    the judgement to its caller.
    """

    module: str
    name: str
    label: str
    reader: str
    late: bool = False
    number: bool = False


_TORCH, _JAX = "gradverify.frameworks.torch.shadow", "gradverify.frameworks.jax.shadow"
_AUTOGRAD, _SCIPY = "gradverify.frameworks.autograd.shadow", "gradverify.shadow.scipyreader"

CHECKERS = (
    Checker("torch.autograd.gradcheck", "gradcheck", "torch gradcheck", _TORCH),
    Checker("torch.autograd.gradcheck", "gradgradcheck", "torch gradgradcheck", _TORCH),
    Checker("jax._src.public_test_util", "check_grads", "jax check_grads", _JAX),
    Checker("autograd.test_util", "check_grads", "autograd check_grads", _AUTOGRAD, late=True),
    Checker("scipy.optimize._optimize", "check_grad", "scipy check_grad", _SCIPY, number=True),
)
