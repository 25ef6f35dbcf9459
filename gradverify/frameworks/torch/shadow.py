"""What `torch.autograd.gradcheck` and `gradgradcheck` are asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gradverify.frameworks.torch.tensors import floating
from gradverify.shadow.question import Question, called, names_of, of_some

_KEPT_SEED = 0


@contextmanager
def preserved() -> Iterator[None]:
    """The caller's random state, and whether gradients are recorded, as they were."""
    with torch.random.fork_rng(devices=[]), torch.set_grad_enabled(torch.is_grad_enabled()):
        yield


def questions(checker: str, call: tuple[Any, ...], keywords: dict[str, Any]) -> list[Question]:
    """One: the first derivative of the function, or of its pullback."""
    return [(_second if checker == "gradgradcheck" else _first)(*call, **keywords)]


def _arguments(inputs: Any) -> tuple[Any, ...]:
    return tuple(inputs) if isinstance(inputs, (tuple, list)) else (inputs,)


def _asked(arguments: Sequence[Any]) -> list[int]:
    return [i for i, x in enumerate(arguments) if isinstance(x, Tensor) and x.requires_grad and floating(x)]


def _mode(*, forward: bool, backward: bool) -> str:
    return "both" if forward and backward else "forward" if forward else "reverse"


def _first(func: Callable[..., Any], inputs: Any, **keywords: Any) -> Question:
    arguments = _arguments(inputs)
    chosen = _asked(arguments)
    forward, backward = keywords.get("check_forward_ad", False), keywords.get("check_backward_ad", True)
    return Question(of_some(func, arguments, chosen), tuple(arguments[i] for i in chosen),
                    {"mode": _mode(forward=forward, backward=backward)})


def _second(func: Callable[..., Any], inputs: Any, grad_outputs: Any = None, **keywords: Any) -> Question:
    """The pullback ``x, u -> J(x)^T u`` as a function of both, which is how its authors define it."""
    first = _first(func, inputs)
    outputs = [y for y in _arguments(first.target(*first.inputs)) if isinstance(y, Tensor) and y.requires_grad]
    u = _cotangents(outputs) if grad_outputs is None else [x.detach() for x in _arguments(grad_outputs)]
    names = names_of(first.target, len(first.inputs))
    pullback = _pullback(first.target, len(names))
    label = f"pullback of {first.target.__name__}"
    return Question(called(pullback, label, [*names, *(f"u{i}" for i in range(len(u)))]), (*first.inputs, *u),
                    {"mode": "reverse"})


def _cotangents(outputs: Sequence[Tensor]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(_KEPT_SEED)
    draws = [torch.randn(y.shape, dtype=y.dtype, generator=generator) for y in outputs]
    return [u.to(y.device) for u, y in zip(draws, outputs, strict=True)]


def _pullback(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    def pulled(*values: Any) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            x = [value if value.requires_grad else value.detach().requires_grad_() for value in values[:count]]
            outputs = [y for y in _arguments(function(*x)) if isinstance(y, Tensor) and y.requires_grad]
            found = torch.autograd.grad(outputs, x, values[count:], create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return pulled
