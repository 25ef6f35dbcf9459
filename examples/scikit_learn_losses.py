"""The losses behind scikit-learn's generalised linear models and boosted trees: gradients and Hessians in Cython.

    python examples/scikit_learn_losses.py

`loss`, `gradient` and `gradient_hessian` act sample by sample on raw predictions, in float64 and in float32.
The second derivatives are judged as derivatives of the gradients that were judged before them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from facts import Fact, show
from sklearn._loss import loss as losses

import gradverify as gv

SAMPLES, CLASSES = 20, 4


def cases() -> dict[str, tuple[losses.BaseLoss, np.ndarray, np.ndarray]]:
    """Each loss with targets from its domain and raw predictions."""
    rng = np.random.default_rng(0)
    raw, real = rng.normal(size=SAMPLES), rng.normal(size=SAMPLES) + 0.3
    positive, counts = rng.gamma(2.0, size=SAMPLES) + 0.05, rng.poisson(2.0, size=SAMPLES).astype(float)
    labels = (rng.random(SAMPLES) > 0.5).astype(float)
    return {
        "HalfSquaredError": (losses.HalfSquaredError(), real, raw),
        "AbsoluteError": (losses.AbsoluteError(), real, raw),
        "PinballLoss 0.3": (losses.PinballLoss(quantile=0.3), real, raw),
        "HuberLoss": (losses.HuberLoss(delta=0.7), real, raw),
        "HalfPoissonLoss": (losses.HalfPoissonLoss(), counts, raw),
        "HalfGammaLoss": (losses.HalfGammaLoss(), positive, raw),
        "HalfTweedieLoss 1.5": (losses.HalfTweedieLoss(power=1.5), counts, raw),
        "HalfTweedieLoss 2.5": (losses.HalfTweedieLoss(power=2.5), positive, raw),
        "HalfTweedieLossIdentity": (losses.HalfTweedieLossIdentity(power=1.5), counts, np.abs(raw) + 0.2),
        "HalfBinomialLoss": (losses.HalfBinomialLoss(), labels, raw),
        "ExponentialLoss": (losses.ExponentialLoss(), labels, raw),
    }


def elementwise(loss: losses.BaseLoss, y: np.ndarray) -> tuple[Any, Any]:
    """What is checked of a loss of one-dimensional targets: its values' and its gradients' derivative."""

    def value(raw):
        return loss.loss(y.astype(raw.dtype), raw)

    def gradient(raw):
        return loss.gradient(y.astype(raw.dtype), raw)

    def hessian(raw):
        return loss.gradient_hessian(y.astype(raw.dtype), raw)[1]

    return gv.function(value, derivative=gradient), gv.function(gradient, derivative=hessian)


def multinomial(y: np.ndarray, raw: np.ndarray) -> tuple[Any, Any]:
    """The softmax loss; its Hessian is the diagonal alone, so each class moves while the others rest."""
    loss = losses.HalfMultinomialLoss(n_classes=CLASSES)
    which, diagonal = np.repeat(y, CLASSES), np.tile(np.eye(CLASSES, dtype=bool), (SAMPLES, 1))

    def value(raw):
        return loss.loss(y.astype(raw.dtype), raw)

    def jacobian(raw):
        blocks = np.zeros((SAMPLES, *raw.shape), raw.dtype)
        blocks[range(SAMPLES), range(SAMPLES)] = loss.gradient(y.astype(raw.dtype), raw)
        return blocks

    def one_class_moves(part, moving):
        rows = np.repeat(raw, CLASSES, axis=0).astype(moving.dtype)
        rows[diagonal] = moving.ravel()
        return loss.gradient_hessian(which.astype(rows.dtype), rows)[part][diagonal].reshape(moving.shape)

    second = gv.function(partial(one_class_moves, 0), derivative=partial(one_class_moves, 1))
    return gv.function(value, jacobian=jacobian), second


def facts() -> Iterator[Fact]:
    rng = np.random.default_rng(1)
    y, raw = rng.integers(CLASSES, size=SAMPLES).astype(float), rng.normal(size=(SAMPLES, CLASSES))
    specs = [(name, *elementwise(loss, target), start) for name, (loss, target, start) in cases().items()]
    for name, first, second, start in [*specs, ("HalfMultinomialLoss", *multinomial(y, raw), raw)]:
        yield Fact(f"{name} gradient", gv.check(first, start))
        yield Fact(f"{name} gradient, float32", gv.check(first, start.astype(np.float32), search="none"))
        # These two are not smooth enough: scikit-learn documents a Hessian of 1, that of half the squared error.
        stand_in = (lambda raw: raw) if name.startswith(("AbsoluteError", "PinballLoss")) else None
        what = "approximate Hessian" if stand_in else "Hessian"
        yield Fact(f"{name} {what}", gv.check(second, start, search="none", surrogate=stand_in))


if __name__ == "__main__":
    show(facts())
