"""Optimizers with constants that train: plain gradient descent first."""

from __future__ import annotations

from hypothesis import strategies as st

from gradverify.reference import SGD, Optimizer

RATES = (0.1, 0.01, 0.5, 1e-3)


def optimizers() -> st.SearchStrategy[Optimizer]:
    """The optimizers of the reference.

    >>> from gradverify.strategies import minimal
    >>> minimal(optimizers())
    SGD(learning_rate=0.1)
    """
    return st.builds(SGD, st.sampled_from(RATES))
