"""Explanations by what stands around a rule: hooks on its way, random numbers drawn a second time."""

from __future__ import annotations

from collections.abc import Iterator

from gradverify.diagnosis.case import Case
from gradverify.records import Cause


def hooked(case: Case) -> Iterator[Cause]:
    """A hook that the user put on a tensor or a module changes the gradient on its way."""
    (everything, without), *each = case.unhooked.items() or [("", lambda: None)]
    if not case.is_right(without()):
        return
    what = next((one for one, without in each if case.is_right(without())), everything)
    yield Cause(
        "hook", f"{what} changes the gradient, which is right without",
        "with the hook left out every entry asked is the expected one; training sees what the hook leaves",
        "let the hook return the gradient as it came, or say which derivative is meant: surrogate=", 0.995,
    )  # fmt: skip


def redrawn(case: Case) -> Iterator[Cause]:
    """The backward draws random numbers of its own where it needs those of its forward."""
    if case.is_right(case.redrawn()):
        yield Cause(
            "redrawn", "the backward draws random numbers anew: its mask is not the one that the forward had",
            "where its random numbers start as those of the forward did, every entry asked is the expected one",
            "save the mask, or the state of the generator, for the backward; a checkpoint has preserve_rng_state", 0.99,
        )  # fmt: skip
