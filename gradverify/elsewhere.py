"""Inputs the user did not give: drawn by a function of his, or varied by a search. Only a failure there counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from gradverify.arrays import EPS, Arrays
from gradverify.records import Check, Options, Verdict
from gradverify.regimes.variation import Variation, another_batch, vary, widened
from gradverify.targets import arrays_in
from gradverify.verdict import Decision, default_require

Inputs = tuple[Any, ...]
Judge = Callable[[Inputs], list[Check]]  # raises what the forward raises
Fails = Callable[[Inputs], bool]  # the same without a word of explanation, for the search
Rebuild = Callable[[Arrays], Inputs]

_DRAWN = {"none": 8, "quick": 8, "deep": 32}
_VARIED = 80
_SHRINKING = 60  # more of them, to make a failure simpler
_BLURRED = 1e3  # times what a pass must reach


@dataclass(frozen=True)
class Elsewhere:
    """A failure at other inputs: its rows, and the inputs that show it again."""

    checks: tuple[Check, ...]
    inputs: Inputs


def look_elsewhere(judge: Judge, fails: Fails, inputs: Inputs, options: Options) -> Elsewhere | None:
    """The first failure at inputs that `draw=` makes; in a deep search in another batch, or the simplest it finds.

    Other sizes are tried for those who ask: what is written for one row, (1, n), need not be meant for more.
    """
    found = _at_drawn_inputs(judge, options)
    # Only a draw= of the user's knows what is admissible in another shape where he names a domain.
    if found is not None or options.search != "deep" or options.draw is not None or options.domain:
        return found
    return _in_another_batch(judge, fails, inputs) or _at_varied_inputs(judge, fails, inputs, options)


def _at_drawn_inputs(judge: Judge, options: Options) -> Elsewhere | None:
    for k in range(_DRAWN[options.search] if options.draw is not None else 0):
        drawn = options.draw(np.random.default_rng((options.seed, k))) if options.draw is not None else ()
        inputs = drawn if isinstance(drawn, tuple) else (drawn,)
        failed = [c for c in judge(inputs) if c.verdict is Verdict.FAIL]
        if failed:
            return Elsewhere(tuple(replace(c, regime=f"drawn point {k}") for c in failed), inputs)
    return None


def _in_another_batch(judge: Judge, fails: Fails, inputs: Inputs) -> Elsewhere | None:
    """A sum over samples that is missing shows in no batch of one."""
    given, rebuild = arrays_in(inputs)
    variation = another_batch(given)
    if variation is None:
        return None
    fails_at = partial(_fails_at, fails, given, rebuild)
    return _failure(judge, given, rebuild, variation) if _counts(fails_at, given, variation) else None


def _fails_at(fails: Fails, given: Arrays, rebuild: Rebuild, variation: Variation) -> bool | None:
    """None where there is nothing to check: what the code refuses of inputs of our own making is no example."""
    drawn = vary(given, variation)
    if drawn is None:
        return None
    try:
        return fails(rebuild(drawn))
    except Exception:  # in whatever words
        return None


def _counts(fails_at: Callable[[Variation], bool | None], given: Arrays, variation: Variation) -> bool:
    """Whether it fails there, and not just because broadcasting stretched an axis of one.

    Where no other size will do, a constant or another input has the given one, and a backward need not undo more.
    """
    wider = widened(given, variation)
    return bool(fails_at(variation)) and (wider is None or fails_at(wider) is not None)


def _failure(judge: Judge, given: Arrays, rebuild: Rebuild, variation: Variation) -> Elsewhere | None:
    drawn = vary(given, variation) or {}
    inputs, text = rebuild(drawn), variation.describe(_short(given), _short(drawn))
    failed = [replace(c, regime=text) for c in judge(inputs) if c.verdict is Verdict.FAIL]
    return Elsewhere(tuple(failed), inputs) if failed else None


def _at_varied_inputs(judge: Judge, fails: Fails, inputs: Inputs, options: Options) -> Elsewhere | None:
    from gradverify.regimes.deep import find_failure

    given, rebuild = arrays_in(inputs)
    if not given:
        return None
    fails_at = partial(_fails_at, fails, given, rebuild)
    known: dict[Variation, bool] = {}

    def failing(variation: Variation) -> bool:
        if variation not in known and len(known) < _VARIED + _SHRINKING:
            known[variation] = _counts(fails_at, given, variation)
        return known.get(variation, False)

    simplest = find_failure(failing, given, examples=_VARIED, seed=options.seed)
    return None if simplest is None else _failure(judge, given, rebuild, simplest)


def _short(arrays: Arrays) -> Arrays:
    """The arrays by the names a reader knows: ``input 0`` for ``inputs[0]``."""
    return {name.replace("inputs[", "input ", 1).replace("]", "", 1): x for name, x in arrays.items()}


def is_blurred(decided: Decision | Check, dtype: str) -> bool:
    """Whether a failure at inputs nobody gave rests on an estimate too coarse to prove anything.

    Over the small steps of a quantiser a line with noise is all that differences see.
    """
    return not decided.reason and decided.resolution > _BLURRED * default_require(None, EPS[dtype])
