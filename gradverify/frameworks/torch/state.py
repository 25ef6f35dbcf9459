"""Everything a call may leave behind, put back: random states, attributes, containers, generators."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gradverify.frameworks import undoing
from gradverify.frameworks.undoing import Undo

# Hooks and registries of a module, apart from those three a forward really adds to.
MACHINERY = frozenset(vars(nn.Module())) - {"training", "_parameters", "_buffers", "_modules"}


@contextmanager
def frozen(seed: int, undos: Iterable[Undo], states: Sequence[Any] | None = None) -> Iterator[None]:
    """Global random generators start from `seed`, or go on from `states`; afterwards all is as it was before."""
    sources = _random_sources()
    before = [get() for get, _, _ in sources]
    for i, (_, put, start) in enumerate(sources):
        start(seed % 2**32) if states is None else put(states[i])
    try:
        yield
    finally:
        for (_, put, _), state in zip(sources, before, strict=True):
            put(state)
        for undo in undos:
            undo()


def random_states() -> list[Any]:
    """The state of every global random generator."""
    return [get() for get, _, _ in _random_sources()]


def _random_sources() -> list[tuple[Callable[[], Any], Callable[[Any], Any], Callable[[int], Any]]]:
    sources: list[Any] = [
        (torch.get_rng_state, torch.set_rng_state, torch.default_generator.manual_seed),
        (np.random.get_state, np.random.set_state, np.random.seed),
        (random.getstate, random.setstate, random.seed),
    ]
    # Seeding a device that nobody has used yet would queue a callback for ever.
    if torch.cuda.is_initialized():
        cuda = torch.cuda
        sources.append((cuda.get_rng_state_all, cuda.set_rng_state_all, cuda.manual_seed_all))
    if torch.backends.mps.is_available():
        sources.append((torch.mps.get_rng_state, torch.mps.set_rng_state, torch.mps.manual_seed))
    return sources


def undo_attributes(thing: Any) -> Undo:
    """How to put back the attributes of an object: those set anew, added, deleted or written into."""
    return undoing.undo_attributes(thing, MACHINERY, undo_value)


def undo_value(value: Any) -> Undo | None:
    """How to put a tensor or a random generator back, or None for anything else.

    Not containers: one that a function closes over may be a cache of compiled kernels.
    """
    if isinstance(value, Tensor) and not isinstance(value, nn.Parameter) and not value.is_inference():
        return _undo_tensor(value)
    if isinstance(value, torch.Generator):
        state = value.get_state()
        return lambda: _ignore(value.set_state(state))
    return undoing.undo_generator(value)


def _undo_tensor(tensor: Tensor) -> Undo:
    # Public in all but name: torch documents it as how an in-place write is noticed.
    version, kept, asks = tensor._version, tensor.detach().clone(), tensor.requires_grad  # noqa: SLF001

    def put_back() -> None:
        if tensor._version != version:  # noqa: SLF001
            with torch.no_grad():
                tensor.copy_(kept)
            if tensor.requires_grad and not asks and not tensor._is_view():  # noqa: SLF001
                tensor.detach_()  # from the graph of what was written into it

    return put_back


def _ignore(_: Any) -> None:
    return None
