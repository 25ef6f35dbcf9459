"""Which of the arguments of a forward a derivative speaks of, and what it may take for granted about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from gradverify.arrays import is_floating
from gradverify.audit.guesses import roles_of
from gradverify.audit.inputs import Arguments, required_names
from gradverify.audit.readings import Trial
from gradverify.audit.search import silence
from gradverify.records import Options
from gradverify.targets import make_targets
from gradverify.targets.calling import argument_names

_BUFFERS = ("out", "output", "O")  # arguments that a forward writes to


def without_labels(
    target: Any, forward: Callable[..., Any], arguments: Arguments, claimed: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    """The claimed leaves without real-valued labels and settings: nobody claims a derivative by those."""
    names = argument_names(forward, len(arguments.inputs))
    roles = zip(names, roles_of(required_names(forward)), arguments.inputs, strict=False)
    labels = {name for name, role, value in roles if role in ("label", "setting") and is_floating(value)}
    buffers = {name for name in names[1:] if name in _BUFFERS}
    labels |= buffers
    if not labels or len(labels) == len(names):
        return claimed
    if claimed is None:
        claimed = tuple(make_targets(target, arguments.inputs, Options(kwargs=dict(arguments.kwargs)))[0].point)
    return tuple(leaf for leaf in claimed if leaf not in labels)


def data_of(forward: Callable[..., Any], names: Sequence[str]) -> list[str]:
    """The arguments of a forward that are data: weights that it is given are its parameters."""
    roles = roles_of(required_names(forward))
    data = [n for n, role in zip(names, roles, strict=False) if role not in ("weight", "bias", "recurrent", "scale")]
    return data or list(names)


def symmetrized(trial: Trial, arguments: Arguments) -> tuple[Arguments, str] | None:
    """The arguments with every square matrix made symmetric, and that as a convention; None without a matrix.

    The gradient ``A @ x`` of ``x @ A @ x / 2`` is right for no other; what has another value for them is no such form.
    """
    names = argument_names(trial.forward, len(arguments.inputs))
    square = [n for n, x in zip(names, arguments.inputs, strict=True) if _is_square(x)]
    inputs = tuple((x + x.T) / 2 if _is_square(x) else x for x in arguments.inputs)
    alike = replace(arguments, inputs=inputs)
    with silence():
        outputs = [trial.run(a) for a in (arguments, alike)]
    before, after = (np.asarray(out[0] if isinstance(out, tuple) else out) for out in outputs)
    same = bool(square) and np.allclose(before, after, rtol=1e-9)
    return (alike, f" of a symmetric {', '.join(square)}") if same else None


def _is_square(x: Any) -> bool:
    return is_floating(x) and np.ndim(x) == 2 and np.shape(x)[0] == np.shape(x)[1] > 1
