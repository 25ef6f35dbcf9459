"""What `scipy.optimize.check_grad` is asked; it answers with a distance and judges nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradverify.shadow.question import Question
from gradverify.targets import function


def questions(checker: str, call: tuple[Any, ...], keywords: dict[str, Any]) -> list[Question]:
    """One: whether `grad` is the gradient (or Jacobian) of `func` at `x0`."""
    return [_question(*call, **{n: x for n, x in keywords.items() if n in ("func", "grad", "x0")})]


def _question(func: Callable[..., Any], grad: Callable[..., Any], x0: Any, *args: Any) -> Question:
    x = np.array(x0, dtype=np.float64)

    def value(x: Any) -> Any:
        return func(x, *args)

    def claim(x: Any) -> Any:
        return grad(x, *args)

    value.__name__ = value.__qualname__ = getattr(func, "__qualname__", type(func).__name__)
    kind = "gradient" if np.size(func(x, *args)) == 1 else "jacobian"
    claims: dict[str, Any] = {kind: claim}
    return Question(function(value, **claims), (x,))
