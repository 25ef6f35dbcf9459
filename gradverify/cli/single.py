"""One object at given inputs: ``gradverify check``, and ``gradverify again`` for a saved failure."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from gradverify.cli.outcome import UsageError
from gradverify.cli.values import Named, instance_of, ordered, read_inputs, resolve
from gradverify.records import Report


def judge(
    target: str, inputs: Sequence[str], claims: Mapping[str, str | None], options: Mapping[str, Any]
) -> Report:
    """The report of `check` for words of the command line; UsageError for what makes no sense."""
    obj, positional, keywords = prepared(target, inputs, claims, int(options["seed"]))
    return _run(obj, positional, {**options, "kwargs": keywords or None})


def prepared(
    target: str, inputs: Sequence[str], claims: Mapping[str, str | None], seed: int
) -> tuple[Any, list[Any], dict[str, Any]]:
    """The target, its inputs in order and its keywords, from words."""
    values = read_inputs(inputs, seed)
    named = resolve(target)
    obj = _claimed(named, {name: text for name, text in claims.items() if text is not None})
    forward = _forward(named.value if obj is not named.value else obj, obj)
    positional, keywords = ordered(forward, values)
    return obj, [native(named.value, value) for value in positional], dict(keywords)


def _claimed(named: Named, claims: Mapping[str, str]) -> Any:
    """The object with the derivative that was named for it."""
    from gradverify.targets import function, pair

    if not claims:
        return instance_of(named)
    if "backward" in claims and len(claims) > 1:
        raise UsageError("--backward belongs to a pair of functions: give no other derivative with it")
    found = {name: resolve(text, home=named.module).value for name, text in claims.items()}
    try:
        return pair(named.value, found["backward"]) if "backward" in found else function(named.value, **found)
    except TypeError as error:
        raise UsageError(str(error)) from error


def _forward(named: Any, obj: Any) -> Any:
    from gradverify.targets.methods import method_names

    if callable(named) and not isinstance(named, type) and not hasattr(named, "forward"):
        return named
    names = method_names(obj)
    return getattr(obj, names[0]) if names else getattr(obj, "forward", obj)


def native(target: Any, value: Any) -> Any:
    """The value as a tensor, if the target is PyTorch's: then its module is loaded already."""
    torch = sys.modules.get("torch")
    bases = (target if isinstance(target, type) else type(target)).__mro__
    if (
        torch is None
        or not isinstance(value, np.ndarray)
        or not any(b.__module__.startswith("torch.") for b in bases)
    ):
        return value
    return torch.from_numpy(value)


def _run(obj: Any, inputs: Sequence[Any], options: Mapping[str, Any]) -> Report:
    from gradverify.checking import check

    try:
        return check(obj, *inputs, **options)
    except (TypeError, ValueError) as error:
        if _raised_here(error):
            raise UsageError(str(error)) from error
        raise UsageError(_forward_failed(error)) from error
    except Exception as error:
        raise UsageError(_forward_failed(error)) from error


def _raised_here(error: BaseException) -> bool:
    last = traceback.extract_tb(error.__traceback__)[-1].filename.replace("\\", "/")
    return "/gradverify/" in last


def _forward_failed(error: BaseException) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{frame.filename}:{frame.lineno}, in {frame.name}"
    return f"the forward raised {type(error).__name__}: {error} ({where})"


def rerun(name: str) -> Report:
    """The report of a saved failure, run again; UsageError if there is none of this name."""
    from gradverify.saved import load

    try:
        target, inputs, options = load(name)
    except Exception as error:
        raise UsageError(f"again {name}: {error}") from error
    return _run(target, inputs, options)
