"""Derivatives written for a framework are found in the syntax and tried with that framework's arrays."""

from __future__ import annotations

import pytest

from gradverify.audit.attempt import attempt
from gradverify.audit.discovery import find_candidates
from gradverify.audit.record import Source
from gradverify.records import Verdict

FUNCTION = """
import torch
from torch.autograd import Function
class Cube(Function):
    @staticmethod
    def forward(ctx, x, scale):
        ctx.save_for_backward(x)
        ctx.scale = scale
        return scale * x ** 3
    @staticmethod
    def backward(ctx, g):
        return 3 * ctx.scale * g * ctx.saved_tensors[0] ** 2, None
"""
DEFAULTS = """
import torch
class Root(torch.autograd.Function):
    @classmethod
    def forward(cls, ctx, x, power=3.0, n_iter=60, keep=True):
        y = torch.zeros_like(x)
        for _ in range(n_iter):
            y = (y + x) / 2
        ctx.save_for_backward(y)
        ctx.power = power
        return y ** power if keep else y
    @classmethod
    def backward(cls, ctx, g):
        (y,) = ctx.saved_tensors
        d_power = None
        if ctx.needs_input_grad[1]:
            d_power = (g * y ** ctx.power * y.log()).sum()
        return ctx.power * g * y ** (ctx.power - 1), d_power, None, None
"""
MODULE = FUNCTION + """
class Layer(torch.nn.Module):
    def __init__(self, in_features, out_features):
        super().__init__()
        self.w = torch.nn.Parameter(torch.ones(in_features, out_features))
    def forward(self, x):
        return Cube.apply(x @ self.w, 0.5)
class Plain(torch.nn.Module):
    def forward(self, x):
        return x
"""
JAX = """
import jax
@jax.custom_vjp
def cube(x):
    return x ** 3
def cube_fwd(x):
    return x ** 3, x
def cube_bwd(x, g):
    return (3 * g * x ** 2,)
cube.defvjp(cube_fwd, cube_bwd)
"""
PRIMITIVE = """
from autograd.extend import primitive, defvjp
@primitive
def square(x):
    return x * x
defvjp(square, lambda ans, x: lambda g: 2 * g * x)
"""
TENSORFLOW = """
import tensorflow as tf
@tf.custom_gradient
def cube(x):
    return x ** 3, lambda g: 3 * g * x ** 2
"""

FOUND = [
    (FUNCTION, [("sample:Cube", "torch.function")]),
    (MODULE, [("sample:Cube", "torch.function"), ("sample:Layer", "torch.module")]),
    (JAX, [("sample:cube", "jax.function")]),
    (JAX.replace("@jax.custom_vjp", "@jax.custom_jvp"), [("sample:cube", "jax.function")]),
    (PRIMITIVE, [("sample:square", "autograd.function")]),
    (TENSORFLOW, [("sample:cube", "tensorflow.function")]),
]


def find(tmp_path, code):
    file = tmp_path / "sample.py"
    file.write_text(code, encoding="utf-8")
    return find_candidates(Source(str(file), "sample", str(tmp_path)))


@pytest.mark.parametrize(("code", "expected"), FOUND)
def test_they_are_found_without_importing_anything(tmp_path, code, expected):
    assert [(c.symbol, c.kind) for c in find(tmp_path, code)] == expected


TRIED = [
    ("torch", FUNCTION, "Cube", Verdict.PASS),
    ("torch", FUNCTION.replace("3 * ctx", "2 * ctx"), "Cube", Verdict.FAIL),
    ("torch", DEFAULTS, "Root", Verdict.PASS),
    ("torch", DEFAULTS.replace("return ctx.power *", "return 2 *"), "Root", Verdict.FAIL),
    ("torch", MODULE, "Layer", Verdict.PASS),
    ("jax", JAX.replace("3 * g", "2 * g"), "cube", Verdict.FAIL),
    ("autograd", PRIMITIVE.replace("2 * g", "g"), "square", Verdict.FAIL),
    ("tensorflow", TENSORFLOW, "cube", Verdict.PASS),
    ("tensorflow", TENSORFLOW.replace("3 * g", "2 * g"), "cube", Verdict.FAIL),
]


@pytest.mark.parametrize(("framework", "code", "name", "verdict"), TRIED)
def test_they_are_tried(tmp_path, monkeypatch, framework, code, name, verdict):
    pytest.importorskip(framework)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    candidate = next(c for c in find(tmp_path, code) if c.symbol == f"sample:{name}")
    assert attempt(candidate, 0).verdict is verdict
