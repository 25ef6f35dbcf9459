"""Matrices: products, inverses, determinants, factorisations, traces, eigenvalues."""

from __future__ import annotations

import numpy as np
from catalogue import NONE, Right, Wrong

import gradverify as gv

RNG = np.random.default_rng(110)
A = RNG.normal(size=(3, 3)) + 3 * np.eye(3)
B = RNG.normal(size=(3, 3))
B2 = RNG.normal(size=(3, 2))
SPD = A @ A.T
V = RNG.normal(size=3)


def fn(f, vjp):
    return gv.function(f, vjp=vjp)


def inverse_back(x, u, *, sign=-1.0, transposed=True):
    y = np.linalg.inv(x)
    y = y.T if transposed else y
    return sign * y @ u @ y


def logdet(x):
    return np.linalg.slogdet(x)[1]


def det_back(x, u, *, transposed=True):
    y = np.linalg.inv(x)
    return u * np.linalg.det(x) * (y.T if transposed else y)


def solve_back(x, b, u, *, sign=-1.0, transposed=True):
    db = np.linalg.solve(x.T if transposed else x, u)
    return sign * np.outer(db, np.linalg.solve(x, b)), db


def cholesky_back(x, u, *, symmetric=True, half=True):
    low = np.linalg.cholesky(x)
    inner = np.tril(low.T @ u)
    if half:
        inner -= 0.5 * np.diag(np.diag(inner))
    inv = np.linalg.inv(low)
    s = inv.T @ inner @ inv
    return 0.5 * (s + s.T) if symmetric else s


def lower_cholesky(x):
    return np.linalg.cholesky(0.5 * (x + x.T))


def trace_of_product(a, b):
    return np.trace(a @ b)


def quadratic(x, v):
    return v @ x @ v


def eig_sum(x):
    return np.sum(np.linalg.eigvalsh(0.5 * (x + x.T)) ** 2)


def frobenius(x):
    return np.linalg.norm(x)


def power(x):
    return x @ x @ x


def power_back(x, u, *, terms=3):
    t = x.T
    found = [u @ t @ t, t @ u @ t, t @ t @ u]
    return sum(found[:terms])


def kron(a, b):
    return np.kron(a, b)


def kron_back(a, b, u, *, swapped=False):
    g = u.reshape(a.shape[0], b.shape[0], a.shape[1], b.shape[1])
    da, db = np.einsum("ipjq,pq->ij", g, b), np.einsum("ipjq,ij->pq", g, a)
    return (db, da) if swapped else (da, db)


def einsum(a, b):
    return np.einsum("ij,kj->ik", a, b)


def bilinear_back(a, b, u, *, wrong=False):
    return u @ b, (u @ a if wrong else u.T @ a)


CASES = [
    Right("matrix product", fn(np.matmul, lambda a, b, u: (u @ b.T, a.T @ u)), (A, B2)),
    Wrong("matrix product: b not transposed", fn(np.matmul, lambda a, b, u: (u @ b, a.T @ u)), (A, B), "x1",
          "not-transposed"),
    Wrong("matrix product: a not transposed", fn(np.matmul, lambda a, b, u: (u @ b.T, a @ u)), (A, B), "x2",
          "not-transposed"),
    Wrong("matrix product: order of the factors", fn(np.matmul, lambda a, b, u: (b.T @ u, a.T @ u)), (A, B), "x1",
          "wrong-line"),
    Wrong("matrix product: gradients exchanged", fn(np.matmul, lambda a, b, u: (a.T @ u, u @ b.T)), (A, B), "x1",
          "unexplained|swapped-leaves"),
    Wrong("matrix product: result transposed", fn(np.matmul, lambda a, b, u: ((u @ b.T).T, a.T @ u)), (A, B), "x1",
          "transposed"),
    Right("inverse", fn(np.linalg.inv, inverse_back), A),
    Wrong("inverse: sign", fn(np.linalg.inv, lambda a, u: inverse_back(a, u, sign=1.0)), A, "a", "sign"),
    Wrong("inverse: not transposed", fn(np.linalg.inv, lambda a, u: inverse_back(a, u, transposed=False)), A, "a",
          "not-transposed"),
    Right("log of the determinant", gv.function(logdet, gradient=lambda x: np.linalg.inv(x).T), A),
    Wrong("log of the determinant: not transposed", gv.function(logdet, gradient=np.linalg.inv), A, "x", "transposed"),
    Right("determinant", fn(np.linalg.det, det_back), A),
    Wrong("determinant: not transposed", fn(np.linalg.det, lambda a, u: det_back(a, u, transposed=False)), A, "a",
          "transposed"),
    Wrong("determinant: adjugate forgotten", fn(np.linalg.det, lambda a, u: u * np.linalg.inv(a).T), A, "a", "factor"),
    Right("solve", fn(np.linalg.solve, solve_back), (A, V)),
    Wrong("solve: sign of the matrix", fn(np.linalg.solve, lambda a, b, u: solve_back(a, b, u, sign=1.0)), (A, V),
          "a", "sign"),
    Wrong("solve: with the matrix itself",
          fn(np.linalg.solve, lambda a, b, u: solve_back(a, b, u, transposed=False)), (A, V), "b",
          "not-transposed"),
    Right("cholesky of a symmetrised matrix", fn(lower_cholesky, cholesky_back), SPD),
    Wrong("cholesky: diagonal not halved", fn(lower_cholesky, lambda x, u: cholesky_back(x, u, half=False)), SPD,
          "x", "unexplained"),
    Wrong("cholesky: not symmetrised", fn(lower_cholesky, lambda x, u: cholesky_back(x, u, symmetric=False)), SPD, "x",
          "diagonal"),
    Right("trace of a product", gv.function(trace_of_product, gradient=lambda a, b: (b.T, a.T)), (A, B)),
    Wrong("trace of a product: not transposed", gv.function(trace_of_product, gradient=lambda a, b: (b, a)), (A, B),
          "a", "transposed"),
    Right("quadratic form of both", gv.function(quadratic, gradient=lambda x, v: (np.outer(v, v), (x + x.T) @ v)),
          (A, V)),
    Wrong("quadratic form of both: 2 A v", gv.function(quadratic, gradient=lambda x, v: (np.outer(v, v), 2 * x @ v)),
          (A, V), "v",
          "unexplained|not-symmetrised"),
    Right("squared eigenvalues", gv.function(eig_sum, gradient=lambda x: x + x.T), SPD),
    Wrong("squared eigenvalues: triangle only", gv.function(eig_sum, gradient=lambda x: 2 * np.tril(x)), SPD, "x",
          "unexplained|wrong-region"),
    Right("frobenius norm", gv.function(frobenius, gradient=lambda x: x / np.linalg.norm(x)), B),
    Wrong("frobenius norm: spectral norm's", gv.function(frobenius, gradient=lambda x: x / np.linalg.norm(x, 2)), B,
          "x", "factor"),
    Right("third power", fn(power, power_back), B),
    Wrong("third power: 3 X^2 as for a number", fn(power, lambda x, u: 3 * u @ x.T @ x.T), B, "x", "unexplained"),
    Wrong("third power: one of three terms forgotten", fn(power, lambda x, u: power_back(x, u, terms=2)), B, "x",
          "missing-path"),
    Right("kronecker product", fn(kron, kron_back), (A, B)),
    Wrong("kronecker product: exchanged", fn(kron, lambda a, b, u: kron_back(a, b, u, swapped=True)), (A, B), "a",
          "unexplained|swapped-leaves"),
    Right("einsum ij,kj->ik", fn(einsum, bilinear_back), (A, B)),
    Wrong("einsum ij,kj->ik: index order", fn(einsum, lambda a, b, u: bilinear_back(a, b, u, wrong=True)), (A, B),
          "b", "wrong-line"),
    Right("pinv norm, ill-conditioned",
          gv.function(lambda x: np.sum(np.linalg.inv(x)), gradient=lambda x: inverse_back(x, np.ones((3, 3)))),
          np.vander([1.0, 1.1, 1.2], 3), NONE, may="condition number 1e4"),
]
