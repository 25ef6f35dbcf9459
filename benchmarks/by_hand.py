"""The failures found in real libraries, shown without gradverify: one number by three ways that share nothing.

One entry of each wrong derivative is computed in closed form, by mpmath from the formula of the function in 40 digits,
and by a central difference in float64 (of the library's own function, except for Probit, whose own is flat there);
beside them stands what the library returns.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import mpmath
import numpy as np
from scipy.special import digamma, gamma, kv, log_ndtr, polygamma
from sklearn.gaussian_process import kernels as gp
from sklearn.neural_network import MLPRegressor
from statsmodels.discrete import discrete_model as discrete

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))  # the same data as the example scripts

import scikit_learn_mlp as mlp
import statsmodels_likelihoods as likelihoods


@dataclass(frozen=True)
class Evidence:
    """One number four times; `upstream` is where the library's own tracker knows of it, if it does."""

    section: str
    entry: str
    library: float
    closed_form: float
    mpmath: float
    difference: float
    why: str
    upstream: str = ""

    @property
    def agree(self) -> float:
        """The largest relative distance between the two exact lines, and of the difference from them."""
        size = max(abs(self.closed_form), 1e-300)
        return max(abs(self.mpmath - self.closed_form), abs(self.difference - self.closed_form)) / size

    @property
    def off(self) -> float:
        """How far the library's value lies from them, relatively."""
        return abs(self.library - self.closed_form) / max(abs(self.closed_form), 1e-300)


def central(f: Callable[[float], float], at: float, h: float) -> float:
    return float((f(at + h) - f(at - h)) / (2 * h))


def exactly(f: Callable[[mpmath.mpf], mpmath.mpf], at: float) -> float:
    with mpmath.workdps(40):
        return float(mpmath.diff(f, mpmath.mpf(at)))


def two_outputs() -> Evidence:
    """The gradient by the bias of the first output: ``mean_i (p_i0 - y_i0) / outputs`` of a mean over outputs."""
    *_, X, y = mlp.data()
    network = MLPRegressor(hidden_layer_sizes=(4,), activation="tanh")
    network, Y, packed = mlp.started(network, X, np.stack([y, y**2], axis=1))
    value_and_grad, index = mlp.backprop(network, X, Y), packed.size - 2

    def loss(bias: float) -> float:
        moved = packed.copy()
        moved[index] = bias
        return float(value_and_grad(moved)[0])

    library = float(value_and_grad(packed)[1][index])
    outputs = network._forward_pass_fast(X, check_input=False)  # noqa: SLF001
    closed = float(np.mean(outputs[:, 0] - Y[:, 0]) / Y.shape[1])
    rest = [mpmath.mpf(float(p - packed[index])) for p in outputs[:, 0]]

    def half_squares(bias: mpmath.mpf) -> mpmath.mpf:
        errors = [(r + bias - mpmath.mpf(float(t))) ** 2 for r, t in zip(rest, Y[:, 0], strict=True)]
        return mpmath.fsum(errors) / (2 * len(errors) * Y.shape[1])

    return Evidence(
        "MLPRegressor", "gradient by the bias of output 0, two outputs", library, closed,
        exactly(half_squares, float(packed[index])), central(loss, float(packed[index]), 1e-5),
        "the squared error is averaged over samples and outputs, its gradient over samples only: every entry is too "
        "large by the number of outputs (the penalty's share excepted)",
        "scikit-learn issue 8349",
    )  # fmt: skip


def cross_derivative(mu: np.ndarray, y: np.ndarray, alpha: float, q: float) -> np.ndarray:
    """``d2 l / (d eta d alpha)`` of a negative binomial of size ``s = mu**q / alpha``, ``eta = log mu``.

    l_s = psi(y + s) - psi(s) + log(s / (s + mu)) + 1 - (y + s) / (s + mu), l_mu = y / mu - (y + s) / (s + mu),
    dl/d eta = q s l_s + mu l_mu and ds/d alpha = -s / alpha.
    """
    s = mu**q / alpha
    l_s = digamma(y + s) - digamma(s) + np.log(s / (s + mu)) + 1 - (y + s) / (s + mu)
    bend = (mu - y) / (s + mu) ** 2
    l_ss = polygamma(1, y + s) - polygamma(1, s) + 1 / s - 1 / (s + mu) - bend
    return (q * (l_s + s * l_ss) - mu * bend) * (-s / alpha)


def likelihood(q: float) -> Callable[[mpmath.mpf, mpmath.mpf], mpmath.mpf]:
    """The log-likelihood of the negative binomial by its intercept and alpha, term by term."""
    X, _, counts, _ = likelihoods.data()
    slopes = X[:, 1:] @ likelihoods.BETA[1:]

    def term(eta: mpmath.mpf, alpha: mpmath.mpf, y: float) -> mpmath.mpf:
        mu = mpmath.exp(eta)
        s = mu**q / alpha
        counted = mpmath.loggamma(y + s) - mpmath.loggamma(s) - mpmath.loggamma(y + 1)
        return counted + s * mpmath.log(s / (s + mu)) + y * mpmath.log(mu / (s + mu))

    return lambda b, a: mpmath.fsum(term(b + mpmath.mpf(float(t)), a, y) for t, y in zip(slopes, counts, strict=True))


def mixed(f: Callable[[mpmath.mpf, mpmath.mpf], mpmath.mpf], at: tuple[float, float]) -> float:
    with mpmath.workdps(40):
        return float(mpmath.diff(f, tuple(map(mpmath.mpf, at)), (1, 1)))


def negative_binomial_p() -> Evidence:
    """The Hessian's entry for the intercept and alpha, at p = 1.5."""
    X, _, counts, _ = likelihoods.data()
    model, params = discrete.NegativeBinomialP(counts, X, p=1.5), np.append(likelihoods.BETA, 0.6)
    mu = np.exp(X @ likelihoods.BETA)

    def score(alpha: float) -> float:
        return float(model.score(np.append(likelihoods.BETA, alpha))[0])

    return Evidence(
        "NegativeBinomialP", "Hessian[intercept, alpha] at p = 1.5", float(model.hessian(params)[0, -1]),
        float(np.sum(cross_derivative(mu, counts, 0.6, 0.5))),
        mixed(likelihood(mpmath.mpf("0.5")), (float(params[0]), 0.6)), central(score, 0.6, 1e-5),
        "the row of alpha is wrong at every p tried (1.5 and 3) but 1 and 2; the score and the rest of the Hessian "
        "are right",
    )  # fmt: skip


def negative_binomial() -> Evidence:
    """The same entry of a model that was not fitted yet, whose last parameter is log alpha."""
    X, _, counts, _ = likelihoods.data()
    model, params = discrete.NegativeBinomial(counts, X), np.append(likelihoods.BETA, 0.6)
    mu, alpha, exact = np.exp(X @ likelihoods.BETA), float(np.exp(0.6)), likelihood(0)

    def score(log_alpha: float) -> float:
        return float(model.score(np.append(likelihoods.BETA, log_alpha))[0])

    return Evidence(
        "NegativeBinomial", "Hessian[intercept, log alpha], nb2, before fit", float(model.hessian(params)[0, -1]),
        float(alpha * np.sum(cross_derivative(mu, counts, alpha, 0.0))),
        mixed(lambda b, log_alpha: exact(b, mpmath.exp(log_alpha)), (float(params[0]), 0.6)), central(score, 0.6, 1e-5),
        "until it is fitted the model takes log alpha; loglike and score follow the chain rule, the Hessian does not",
        "statsmodels issue 1967",
    )  # fmt: skip


def probit() -> Evidence:
    """The score of one success nine deviations out, where ``d log Phi(z) / dz`` is 9.1."""
    model, z = discrete.Probit(np.ones(1), np.ones((1, 1))), -9.0
    return Evidence(
        "Probit", "score at z = -9", float(model.score(np.array([z]))[0]), 1 / mills_ratio(-z),
        exactly(lambda t: mpmath.log(mpmath.ncdf(t)), z), central(log_ndtr, z, 1e-4),
        "the probability is clipped at 2.2e-16 in the log-likelihood (which is flat there, derivative 0) and in the "
        "denominator of the score: below z = -8.1 the score is neither the derivative of what loglike returns nor that "
        "of log Phi",
    )  # fmt: skip


def mills_ratio(x: float, terms: int = 80) -> float:
    """Mills' ratio ``(1 - Phi(x)) / phi(x) = 1 / (x + 1 / (x + 2 / (x + ...)))`` (Abramowitz and Stegun 26.2.14)."""
    tail = x
    for k in range(terms, 0, -1):
        tail = x + k / tail
    return 1 / tail


def matern() -> Evidence:
    """``dK / d log l = 2**(1 - nu) / Gamma(nu) t**(nu + 1) K_{nu-1}(t)`` of two points, ``t = sqrt(2 nu) r / l``."""
    nu, length, X = 0.7, 1.2, np.array([[0.0], [0.9]])
    kernel = gp.Matern(length, nu=nu)
    t = np.sqrt(2 * nu) * 0.9 / length

    def value(theta: mpmath.mpf) -> mpmath.mpf:
        s = mpmath.sqrt(2 * mpmath.mpf(nu)) * mpmath.mpf(0.9) / mpmath.exp(theta)
        return mpmath.mpf(2) ** (1 - mpmath.mpf(nu)) / mpmath.gamma(nu) * s ** mpmath.mpf(nu) * mpmath.besselk(nu, s)

    theta = float(kernel.theta[0])
    return Evidence(
        "Matern", "K_gradient[0, 1], nu = 0.7", float(kernel(X, eval_gradient=True)[1][0, 1, 0]),
        float(2 ** (1 - nu) / gamma(nu) * t ** (nu + 1) * kv(nu - 1, t)), exactly(value, theta),
        central(lambda s: float(kernel.clone_with_theta(np.array([s]))(X)[0, 1]), theta, 1e-5),
        "a one-sided difference with a step of 1e-10 keeps six digits at most (the source says: approximate gradient "
        "numerically)",
    )  # fmt: skip


def evidence() -> Iterator[Evidence]:
    for show in (two_outputs, negative_binomial_p, negative_binomial, probit, matern):
        yield show()


if __name__ == "__main__":
    for found in evidence():
        print(f"{found.section}: {found.library:.6g} against {found.closed_form:.6g}, certain to {found.agree:.0e}")
