"""What would have a candidate tried: the line that a project adds, with this candidate's own names."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np

from gradverify.audit.guesses import settings_for
from gradverify.audit.load import NotTriable, find_attribute, load
from gradverify.audit.record import Candidate


def advice(candidate: Candidate) -> str:
    """The line for a conftest.py that gives a candidate its inputs; what it takes by name, to be filled in."""
    symbol = candidate.symbol
    try:
        found = find_attribute(load(candidate.source), candidate.owner or candidate.forward)
    except NotTriable:
        return ""
    if not candidate.owner:
        return f"in conftest.py: gv.example({symbol!r}, {_words(found, drop=0)})"
    names = _required(found)
    make = ", ".join(f"{p.name!r}: {_guess(p)}" for p in names)
    forward = inspect.getattr_static(found, candidate.forward, None)
    words = _words(forward, drop=1) if callable(forward) else '"float64[5,3]"'
    return f"in conftest.py: gv.example({symbol!r}, {words}" + (f", make={{{make}}})" if make else ")")


def _words(function: Any, drop: int) -> str:
    return ", ".join(['"float64[5,3]"'] * max(len(_required(function)[drop:]), 1))


def _required(function: Any) -> list[inspect.Parameter]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return []
    stars = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [p for p in parameters if p.default is p.empty and p.kind not in stars]


def _guess(parameter: inspect.Parameter) -> str:
    value = settings_for(parameter, np.random.default_rng(0))[0]
    return repr(value) if isinstance(value, (int, float, str, tuple, list, type(None))) else "..."
