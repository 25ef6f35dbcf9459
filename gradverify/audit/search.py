"""Find arguments that a forward accepts, reading the errors that it raises on the way."""

from __future__ import annotations

import contextlib
import io
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from types import MethodType
from typing import Any

import numpy as np

from gradverify.arrays import flatten, is_floating
from gradverify.audit.guesses import value_of_key
from gradverify.audit.inputs import Arguments, Proposal, make_arguments, proposals
from gradverify.audit.refusals import by_name, changes

Wish = Callable[[Proposal], bool]

_MOST = 2500  # calls of the forward; a search that needs more does not end well
_MOST_OF_ONE = 250  # of one object, before the next one made otherwise has its turn


@dataclass
class Search:
    """Proposals tried one after the other; `complaint` is the last thing the forward said."""

    complaint: str = "it takes no inputs"
    tried: int = 0
    depth: tuple[int, int] = (-1, -1)
    asked: list[Proposal] = field(default_factory=list)  # what errors asked for by its size
    error: Exception | None = None  # of which the complaint is
    backward: str = ""  # what a derivative said that could not be asked at all

    def takes(self, run: Callable[[Arguments], Any], arguments: Arguments) -> bool:
        """Whether a forward turns these arguments into finite floating numbers."""
        return _attempt(run, arguments)[0] is None

    def accepted(
        self,
        function: Callable[..., Any],
        held: Sequence[np.ndarray],
        seed: int,
        run: Callable[[Arguments], Any] | None = None,
        stated: Sequence[tuple[int, ...]] = (),
    ) -> Iterator[Arguments]:
        """The arguments that `run` turns into finite floating numbers, likeliest first."""
        run = run or partial(twin_call, function)
        waiting = proposals(function, held, stated)
        last = min(_MOST, self.tried + _MOST_OF_ONE)
        while waiting and self.tried < last:
            proposal = waiting.pop(0)
            self.tried += 1
            arguments = make_arguments(function, proposal, held, seed)
            problem, wish, depth, error = _attempt(run, arguments)
            if problem == _NARROW:  # the code computes in float32 whatever it is given
                waiting.insert(0, replace(proposal, dtype="float32"))
            elif problem is None:
                yield arguments
            else:
                if depth > self.depth:  # what got furthest says most
                    self.complaint, self.depth, self.error = problem, depth, error
                if wish is not None:
                    waiting.sort(key=lambda p: not wish(p))
                wanted = [*_asked_for(problem, proposal), *_refused(function, proposal, arguments, error)]
                waiting[:0] = [p for p in wanted if p not in self.asked]
                self.asked += wanted


_Outcome = tuple[str | None, Wish | None, tuple[int, int], Exception | None]


def _attempt(run: Callable[[Arguments], Any], arguments: Arguments) -> _Outcome:
    """None for success; else what went wrong, which proposals that speaks for, how far it got, what it raised."""
    try:
        with silence():
            result = run(arguments)
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0][:160], read_error(error), _depth(error), error
    problem, wish = judge_output(result)
    narrow = problem is None and _dtype_of(result) == "float32" and _dtype_of(list(arguments.inputs)) == "float64"
    return (_NARROW, None, _FAR, None) if narrow else (problem, wish, _FAR, None)


def _refused(
    function: Callable[..., Any], proposal: Proposal, arguments: Arguments, error: Exception | None
) -> list[Proposal]:
    """The proposal with one size more as the condition wants it that was not met; none where none was to be met."""
    if error is None or len(proposal.fixed) >= _CONDITIONS:
        return []
    with silence():
        found = [*_with_missing_key(arguments, error)]
        found = found or changes(error, by_name(function, arguments.inputs, arguments.kwargs))
    return [replace(proposal, fixed=(*proposal.fixed, change)) for change in found]


def _with_missing_key(arguments: Arguments, error: Exception) -> Iterator[tuple[str, Any]]:
    """The dictionaries among the settings with the key that was looked for in one of them, and a value by its name."""
    key = error.args[0] if isinstance(error, KeyError) and error.args else None
    for name, setting in arguments.kwargs.items():
        if isinstance(setting, dict) and isinstance(key, str) and key.isidentifier() and key not in setting:
            yield name, {**setting, key: value_of_key(key)}


_CONDITIONS = 5  # that are met one after the other


def _asked_for(problem: str, proposal: Proposal) -> list[Proposal]:
    """What ``cannot reshape array of size 15 into shape (5,4,2)`` wants: five samples of eight numbers.

    ``cannot unpack non-iterable int`` wants pairs for settings.
    """
    if not proposal.pairs and re.search(r"non-iterable int|'int' object is not (iterable|subscriptable)", problem):
        return [replace(proposal, pairs=True)]
    match = re.search(r"cannot reshape array of size \d+ into shape \((\d+(?:,\d+)+),?\)", problem)
    if match is None:
        return []
    first, *rest = (int(n) for n in match[1].split(","))
    return [replace(proposal, scheme={**proposal.scheme, "data": (first, int(np.prod(rest)))})]


_FAR = (99, 0)


def _depth(error: Exception) -> tuple[int, int]:
    """The number of calls an error lies deep, and its line."""
    lines = [line for _, line in traceback.walk_tb(error.__traceback__)]
    return len(lines), lines[-1] if lines else 0


_NARROW = "computes in float32"


def _dtype_of(values: Any) -> str:
    leaves = [leaf for leaf in flatten(values, "x")[0].values() if is_floating(leaf)]
    return str(getattr(leaves[0], "dtype", "float64")) if leaves else ""


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """No output, warnings or floating-point complaints of the code under audit."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def twin_call(function: Callable[..., Any], arguments: Arguments) -> Any:
    """Call on copies of the arguments and of the object, so that a failed trial leaves no trace."""
    owner = getattr(function, "__self__", None)
    if owner is not None and not isinstance(owner, type):
        function = MethodType(function.__func__, deepcopy(owner))  # type: ignore[attr-defined]
    return function(*deepcopy(arguments.inputs), **deepcopy(dict(arguments.kwargs)))


def judge_output(result: Any) -> tuple[str | None, Wish | None]:
    """Whether the first output is floating, not empty and finite."""
    first = result[0] if isinstance(result, tuple) and result else result
    leaves = [np.asarray(leaf) for leaf in flatten(first, "out")[0].values() if is_floating(leaf)]
    if not leaves:
        return f"the forward returned no floating array but {type(first).__name__}", lambda p: not p.integers
    if any(leaf.size == 0 for leaf in leaves):
        return "the forward returned an empty array", None
    if not all(np.all(np.isfinite(leaf)) for leaf in leaves):
        return "the forward returned values that are not finite", lambda p: p.unit
    return None, None


def read_error(error: Exception) -> Wish | None:
    """Which proposals an error asks for: a number of axes, or integers.

    >>> wish = read_error(ValueError("not enough values to unpack (expected 4, got 2)"))
    >>> wish(Proposal({"data": (2, 3, 4, 5)})), wish(Proposal({"data": (5, 3)}))
    (True, False)
    """
    text = str(error)
    for pattern, wish in _READINGS:
        match = re.search(pattern, text)
        if match is not None:
            return wish(*[int(group) for group in match.groups()])
    return None


_READINGS: tuple[tuple[str, Callable[..., Wish]], ...] = (
    (r"values to unpack \(expected (\d+)", lambda n: lambda p: p.rank == n),
    (r"array is \d+-dimensional, but (\d+) were indexed", lambda n: lambda p: p.rank >= n),
    (r"axis (\d+) is out of bounds", lambda n: lambda p: p.rank > n),
    (r"axes don't match array", lambda: lambda p: p.rank > 2),
    (r"tuple index out of range", lambda: lambda p: p.rank > 2),
    (r"of integer \(or boolean\) type", lambda: lambda p: p.integers or p.label == "class"),
    (r"only integer", lambda: lambda p: p.integers),
    (r"original->remapped\]: \((\d+),2\)", lambda n: lambda p: p.rank == n),  # of np.pad: a pair for each axis
    (r"list of axes|repeated axis", lambda: lambda p: p.rank > 2),
)
