"""Hessians, Hessian products, pushforwards, Jacobians: second derivatives and forward mode."""

from __future__ import annotations

import numpy as np
from catalogue import NONE, Right, Wrong

import gradverify as gv

RNG = np.random.default_rng(112)
V = RNG.normal(size=4)
A = RNG.normal(size=(4, 4))
M = RNG.normal(size=(3, 4))


def rosen(x):
    return np.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)


def rosen_g(x):
    g = np.zeros_like(x)
    g[:-1] += -400 * x[:-1] * (x[1:] - x[:-1] ** 2) - 2 * (1 - x[:-1])
    g[1:] += 200 * (x[1:] - x[:-1] ** 2)
    return g


def rosen_h(x, *, wrong=""):
    h = np.zeros((x.size, x.size))
    i = np.arange(x.size - 1)
    h[i, i] += 1200 * x[:-1] ** 2 - 400 * x[1:] + 2
    if wrong != "curvature":
        h[i + 1, i + 1] += 200
    h[i, i + 1] -= 400 * x[:-1]
    if wrong != "triangle":
        h[i + 1, i] -= 400 * x[:-1]
    if wrong == "diagonal":
        h = np.diag(np.diag(h))
    return -h if wrong == "sign" else h


def quartic(x):
    return np.sum(x**4) / 12 + 0.5 * x @ A @ x


def quartic_g(x):
    return x**3 / 3 + 0.5 * (A + A.T) @ x


def quartic_hvp(x, v, *, symmetric=True, quartic=True):
    return (x**2 * v if quartic else 0) + (0.5 * (A + A.T) if symmetric else A) @ v


def lse(x):
    m = x.max()
    return m + np.log(np.sum(np.exp(x - m)))


def lse_g(x):
    return np.exp(x - lse(x))


def lse_h(x, *, cross=True):
    p = lse_g(x)
    return np.diag(p) - (np.outer(p, p) if cross else 0)


def model(x):
    return np.tanh(M @ x)


def model_j(x):
    return (1 - model(x) ** 2)[:, None] * M


def model_jvp(x, v):
    return (1 - model(x) ** 2) * (M @ v)


def function(**claims):
    return gv.function(model, **claims)


def polar(r, t):
    return np.array([r * np.cos(t), r * np.sin(t)])


def polar_jvp(r, t, dr, dt):
    return np.array([dr * np.cos(t) - r * np.sin(t) * dt, dr * np.sin(t) + r * np.cos(t) * dt])


def cubed(x):
    return np.sum(x**3)


CASES = [
    Right("rosenbrock with its hessian", gv.function(rosen, gradient=rosen_g, hessian=rosen_h), V, NONE),
    Wrong("hessian: one triangle",
          gv.function(rosen, gradient=rosen_g, hessian=lambda x: rosen_h(x, wrong="triangle")), V, "x",
          "asymmetric|unexplained"),
    Wrong("hessian: a constant forgotten on the diagonal",
          gv.function(rosen, gradient=rosen_g,
                      hessian=lambda x: rosen_h(x, wrong="curvature")), V, "x", "one-slice|unexplained"),
    Wrong("hessian: diagonal only",
          gv.function(rosen, gradient=rosen_g, hessian=lambda x: rosen_h(x, wrong="diagonal")), V, "x",
          "diagonal-only|unexplained"),
    Wrong("hessian: sign", gv.function(rosen, gradient=rosen_g, hessian=lambda x: rosen_h(x, wrong="sign")), V, "x",
          "sign"),
    Wrong("hessian right, gradient wrong", gv.function(rosen, gradient=lambda x: 2 * rosen_g(x), hessian=rosen_h), V,
          "x", "factor"),
    Wrong("hessian without a gradient: factor", gv.function(cubed, hessian=lambda x: np.diag(3 * x)), V, "x", "factor"),
    Right("hessian without a gradient", gv.function(cubed, hessian=lambda x: np.diag(6 * x)), V, NONE),
    Right("hvp", gv.function(quartic, gradient=quartic_g, hvp=quartic_hvp), V, NONE),
    Wrong("hvp: not symmetrised",
          gv.function(quartic, gradient=quartic_g, hvp=lambda x, v: quartic_hvp(x, v, symmetric=False)), V, "x",
          "asymmetric|unexplained"),
    Wrong("hvp: a term dropped",
          gv.function(quartic, gradient=quartic_g, hvp=lambda x, v: quartic_hvp(x, v, quartic=False)), V, "x",
          "one-slice|unexplained"),
    Wrong("hvp: the gradient times v", gv.function(quartic, gradient=quartic_g, hvp=lambda x, v: quartic_g(x) * v),
          V, "x", "unexplained"),
    Wrong("hvp: zero (detached)", gv.function(quartic, gradient=quartic_g, hvp=lambda x, v: 0 * v), V, "x",
          "zero-gradient"),
    Right("logsumexp with its hessian", gv.function(lse, gradient=lse_g, hessian=lse_h), V, NONE),
    Wrong("logsumexp: outer product forgotten",
          gv.function(lse, gradient=lse_g, hessian=lambda x: lse_h(x, cross=False)), V, "x",
          "diagonal-only|unexplained"),
    Right("jvp", function(jvp=model_jvp), V, NONE),
    Right("jvp and vjp", function(jvp=model_jvp, vjp=lambda x, u: model_j(x).T @ u), V, NONE),
    Wrong("jvp: activation's derivative forgotten", function(jvp=lambda x, v: M @ v), V, "x", "unexplained"),
    Wrong("jvp: factor", function(jvp=lambda x, v: 2 * model_jvp(x, v)), V, "x", "factor"),
    Wrong("jvp: sign", function(jvp=lambda x, v: -model_jvp(x, v)), V, "x", "sign"),
    Wrong("jvp wrong beside a right vjp",
          function(jvp=lambda x, v: 1.01 * model_jvp(x, v), vjp=lambda x, u: model_j(x).T @ u), V, "x",
          "factor"),
    Wrong("vjp wrong beside a right jvp", function(jvp=model_jvp, vjp=lambda x, u: 1.01 * model_j(x).T @ u), V, "x",
          "factor"),
    Right("jvp of two inputs", gv.function(polar, jvp=polar_jvp), (np.array(1.3), np.array(0.4)), NONE),
    Wrong("jvp of two inputs: the second tangent forgotten",
          gv.function(polar, jvp=lambda r, t, dr, dt: np.array([dr * np.cos(t), dr * np.sin(t)])), (np.array(1.3),
                                                                                                    np.array(0.4)), "t",
          "zero-gradient"),
    Wrong("jvp of two inputs: tangents exchanged", gv.function(polar, jvp=lambda r, t, dr, dt: polar_jvp(r, t, dt, dr)),
          (np.array(1.3), np.array(0.4)), "r", "unexplained|swapped-leaves"),
    Right("jacobian", function(jacobian=model_j), V),
    Wrong("jacobian: transposed, square", gv.function(lambda x: A @ np.sin(x), jacobian=lambda x: (A * np.cos(x)).T),
          V, "x",
          "not-transposed"),
    Wrong("jacobian: transposed", function(jacobian=lambda x: model_j(x).T), V, "x", "shape|transposed"),
    Wrong("jacobian: one row zero", function(jacobian=lambda x: model_j(x) * np.array([[1], [0], [1]])), V, "x",
          "wrong-line|one-output"),
    Wrong("jacobian: activation at the wrong axis, square",
          gv.function(lambda x: np.tanh(A @ x),
                      jacobian=lambda x: (1 - np.tanh(A @ x) ** 2) * A), V, "x", "unexplained|wrong-axis"),
    Right("value and jacobian", gv.function(value_and_jacobian=lambda x: (model(x), model_j(x))), V),
    Right("value and gradient", gv.function(value_and_grad=lambda x: (rosen(x), rosen_g(x))), V),
    Wrong("value and gradient: 1 % off", gv.function(value_and_grad=lambda x: (rosen(x), 1.01 * rosen_g(x))), V, "x",
          "factor"),
    Wrong("vjp right, gradient claimed for another power", gv.function(cubed, gradient=lambda x: 3 * x), V, "x",
          "another-function"),
]
