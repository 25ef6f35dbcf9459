"""What a call of another checker asks, as a call of `check`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gradverify.targets.calling import argument_names
from gradverify.targets.specs import name_of


@dataclass(frozen=True)
class Question:
    """A target, the inputs it is asked at, and the options that the call implies."""

    target: Any
    inputs: tuple[Any, ...]
    options: dict[str, Any] = field(default_factory=dict)


def names_of(function: Callable[..., Any], count: int) -> list[str]:
    """Names for the inputs of a function, all different and fit for a signature."""
    given = argument_names(function, count)
    return [name if name.isidentifier() else f"input_{i}" for i, name in enumerate(given)]


def called(function: Any, name: str, names: Sequence[str]) -> Any:
    """The function under a name and with a signature of these arguments, for reports to speak of."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    function.__name__ = function.__qualname__ = name
    function.__signature__ = inspect.Signature([inspect.Parameter(n, kind) for n in names])
    return function


def of_some(function: Callable[..., Any], arguments: Sequence[Any], chosen: Sequence[int]) -> Callable[..., Any]:
    """The function of the chosen arguments alone, the others as they are."""

    def of_chosen(*values: Any) -> Any:
        whole = list(arguments)
        for index, value in zip(chosen, values, strict=True):
            whole[index] = value
        return function(*whole)

    every = names_of(function, len(arguments))
    return called(of_chosen, name_of(function), [every[i] for i in chosen])  # type: ignore[no-any-return]
