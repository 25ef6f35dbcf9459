"""Losses, each behind a layer that makes any output a prediction it is defined for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st

from gradverify.reference import (
    KL,
    MAE,
    MSE,
    NLL,
    Activation,
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Cosine,
    CrossEntropy,
    Hinge,
    Huber,
    Layer,
    LogSoftmax,
    Loss,
    Poisson,
    Softmax,
)
from gradverify.strategies.makers import Draw, Flow, choice, often

REDUCTIONS = choice("mean", "sum", "none")
SMOOTHING = choice(0.0, 0.0, 0.1)


@dataclass(frozen=True)
class Ending:
    """A loss, the layer before it if it needs one, and what kind of truth it is given."""

    loss: Loss
    before: tuple[Layer, ...] = ()
    labels: bool = False
    weighted: bool = False


def _plain(draw: Draw, flow: Flow) -> Ending:
    kind = draw(choice(MSE, MAE, Hinge, Cosine, Huber))
    options = {"delta": draw(choice(1.0, 0.3))} if kind is Huber else {}
    return Ending(kind(reduction=draw(REDUCTIONS), **options), weighted=not often(draw))


def _poisson(draw: Draw, flow: Flow) -> Ending:
    logarithm = often(draw)
    before = () if logarithm else (Activation("softplus"),)
    return Ending(Poisson(logarithm, draw(REDUCTIONS)), before, weighted=not often(draw))


def _binary(draw: Draw, flow: Flow) -> Ending:
    logits, weight = often(draw), draw(choice(1.0, 2.5))
    loss = BinaryCrossEntropy(logits, draw(SMOOTHING), weight, draw(REDUCTIONS))
    return Ending(loss, () if logits else (Activation("sigmoid"),), weighted=not often(draw))


def _classes(draw: Draw, flow: Flow) -> Ending:
    kind, before = draw(choice((CrossEntropy, ()), (NLL, (LogSoftmax(),)), (CategoricalCrossEntropy, (Softmax(),))))
    weights = None if often(draw) else tuple(1.0 + 0.5 * k for k in range(flow.shape[-1]))
    loss = kind(draw(SMOOTHING), weights, draw(REDUCTIONS))
    return Ending(loss, before, labels=draw(choice(False, True)), weighted=not often(draw))


def _divergence(draw: Draw, flow: Flow) -> Ending:
    return Ending(KL(draw(REDUCTIONS)), (LogSoftmax(),), weighted=not often(draw))


# Of plain losses there are five, of those of classes three, of each other kind one.
_ENDINGS = (_plain, _classes, _binary, _plain, _classes, _poisson, _plain, _divergence, _plain, _classes, _plain)


@st.composite
def endings(draw: Draw, flow: Flow) -> Ending:
    """A loss of what flows out, squared error the simplest."""
    make: Callable[[Draw, Flow], Ending] = draw(choice(*_ENDINGS))
    return make(draw, flow)


def losses(classes: int = 3) -> st.SearchStrategy[Loss]:
    """The losses of the reference, for predictions (n, classes); some take probabilities or their logarithms.

    >>> from gradverify.strategies import minimal
    >>> minimal(losses())
    MSE(reduction='mean')
    """
    if classes < 1:
        raise ValueError(f"classes={classes!r}: must be at least 1")
    return endings(Flow("features", (1, classes))).map(lambda ending: ending.loss)
