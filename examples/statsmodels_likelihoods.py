"""Log-likelihoods of statsmodels' discrete models, with their hand-written scores and Hessians.

    python examples/statsmodels_likelihoods.py

Three of them are wrong somewhere, which reports/real-libraries.md shows by hand. An expected information is no bug:
it is the Hessian of another function, the log-likelihood averaged over the responses, and is judged against that one
with `surrogate=`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import statsmodels.api as sm
from facts import Fact, show
from statsmodels.discrete import discrete_model as discrete
from statsmodels.tools import add_constant

import gradverify as gv

BETA = np.array([0.4, -0.4, 0.9])


def data(rows: int = 40) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A design, and binary, overdispersed count and three-class responses of it, all seeded."""
    rng = np.random.default_rng(0)
    X = add_constant(rng.normal(size=(rows, 2)))
    mean = np.exp(X @ (BETA - 0.1))
    binary = (rng.random(rows) < mean / (1 + mean)).astype(float)
    counts = rng.poisson(mean * rng.gamma(2.0, 0.5, size=rows)).astype(float)
    return X, binary, counts, rng.integers(3, size=rows)


def models() -> Iterator[tuple[str, discrete.DiscreteModel, np.ndarray]]:
    X, binary, counts, classes = data()
    dispersed, mixed = np.append(BETA, 0.6), np.append(BETA, 0.2)
    yield "Logit", discrete.Logit(binary, X), BETA
    yield "Probit", discrete.Probit(binary, X), BETA
    yield "MNLogit", discrete.MNLogit(classes, X), np.append(BETA, -BETA / 2)
    yield "Poisson", discrete.Poisson(counts, X), BETA
    yield "GeneralizedPoisson p=1", discrete.GeneralizedPoisson(counts, X, p=1), mixed
    yield "GeneralizedPoisson p=2", discrete.GeneralizedPoisson(counts, X, p=2), mixed
    yield "NegativeBinomial geometric", discrete.NegativeBinomial(counts, X, loglike_method="geometric"), BETA
    for method in ("nb1", "nb2"):
        fitted = discrete.NegativeBinomial(counts, X, loglike_method=method)
        fitted.fit(disp=0, maxiter=50)
        yield f"NegativeBinomial {method}", fitted, dispersed
    for p in (1, 2):
        yield f"NegativeBinomialP p={p}", discrete.NegativeBinomialP(counts, X, p=p), dispersed


def really_wrong() -> Iterator[tuple[str, discrete.DiscreteModel, np.ndarray, str]]:
    """What fails, at a point where it does, and the section that shows it by hand."""
    X, binary, counts, _ = data()
    dispersed = np.append(BETA, 0.6)
    yield "NegativeBinomialP p=1.5", discrete.NegativeBinomialP(counts, X, p=1.5), dispersed, "NegativeBinomialP"
    yield "NegativeBinomial nb2, not yet fitted", discrete.NegativeBinomial(counts, X), dispersed, "NegativeBinomial"
    yield "Probit, ten deviations out", discrete.Probit(binary, X), 8 * BETA, "Probit"


def claims(model: discrete.DiscreteModel) -> Any:
    return gv.function(model.loglike, gradient=model.score, hessian=model.hessian)


def expected_information(beta: np.ndarray) -> Iterator[tuple[str, gv.Report]]:
    """``-E[H]``: the Hessian of the log-likelihood averaged over responses drawn at `beta`."""
    X, binary, counts, _ = data()
    probit = sm.families.Binomial(sm.families.links.Probit())
    gamma = sm.families.Gamma(sm.families.links.Log())
    for name, y, family in (("Binomial probit", binary, probit), ("Gamma log", counts + 0.5, gamma)):
        model = sm.GLM(y, X, family=family)
        # An exponential family's log-likelihood is affine in y: averaging it puts the mean in the place of y.
        averaged = sm.GLM(model.predict(beta), X, family=family)
        claim = gv.function(model.loglike, hessian=lambda params, m=model: m.hessian(params, observed=False, scale=1.0))
        meant = lambda params, m=averaged: m.loglike(params, scale=1.0)  # noqa: E731
        yield name, gv.check(claim, beta, order=2, surrogate=meant)


def facts() -> Iterator[Fact]:
    for name, model, params in models():
        search = "quick" if name in ("Logit", "Poisson") else "none"
        yield Fact(name, gv.check(claims(model), params, order=2, search=search))
    for name, report in expected_information(BETA / 2):
        yield Fact(f"GLM {name}, expected information", report)
    for name, model, params, section in really_wrong():
        yield Fact(name, gv.check(claims(model), params, order=2, search="none"), shown=section)


if __name__ == "__main__":
    show(facts())
