"""Optimizers with constants that train: plain gradient descent first."""

from __future__ import annotations

from functools import cache

from hypothesis import strategies as st

from gradverify.reference import (
    SGD,
    Adam,
    AdamW,
    Clipped,
    CosineDecay,
    Exponential,
    InverseTime,
    Momentum,
    Nesterov,
    Optimizer,
    RMSprop,
    Warmup,
)

RATES = (0.1, 0.01, 0.5, 1e-3)


@cache
def learning_rates() -> st.SearchStrategy[object]:
    """A number, or a schedule that starts from one."""
    numbers = st.sampled_from(RATES)
    falling = (st.builds(Exponential, numbers, st.sampled_from((0.9, 0.5))),
               st.builds(InverseTime, numbers, st.just(5.0)),
               st.builds(CosineDecay, numbers, st.sampled_from((10, 3))))
    return st.one_of(numbers, *falling, st.builds(Warmup, st.integers(1, 5), numbers))


@cache
def optimizers() -> st.SearchStrategy[Optimizer]:
    """The optimizers of the reference, with and without schedules and clipping.

    >>> from gradverify.strategies import minimal
    >>> minimal(optimizers())
    SGD(learning_rate=0.1)
    """
    rates = learning_rates()
    plain = [st.builds(kind, rates) for kind in (SGD, Momentum, Nesterov, RMSprop, Adam)]
    decayed = st.builds(AdamW, rates, st.sampled_from((0.01, 0.0, 0.1)))
    clipped = st.builds(Clipped, st.builds(SGD, rates), st.sampled_from((1.0, 0.1)),
                        st.sampled_from(("global_norm", "norm", "value")))
    return st.one_of(*plain, decayed, clipped)
