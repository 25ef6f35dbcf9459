"""What carries a derivative is found by its names, and what only looks like it is left alone."""

from __future__ import annotations

from textwrap import dedent

import pytest

from gradverify.audit import find
from gradverify.audit.discovery import find_candidates
from gradverify.audit.record import Source


def found(tmp_path, code):
    file = tmp_path / "sample.py"
    file.write_text(dedent(code), encoding="utf-8")
    return find_candidates(Source(str(file), "sample", str(tmp_path)))


def conventions(tmp_path, code):
    return [(c.symbol.removeprefix("sample:"), c.kind, c.convention) for c in found(tmp_path, code)]


LAYER = "class L:\n    def {}(self, x): return x\n    def {}(self, d): return d\n"

METHODS = [
    ("forward", "backward", "layer"),
    ("forward_pass", "backward_pass", "layer"),
    ("forward", "backprop", "layer"),
    ("fprop", "bprop", "layer"),
    ("__call__", "backward", "layer"),
    ("__call__", "gradient", "point"),
    ("loss", "gradient", "point"),
    ("fn", "grad", "point"),
]


@pytest.mark.parametrize(("forward", "backward", "kind"), METHODS)
def test_methods_of_a_class_are_found(tmp_path, forward, backward, kind):
    assert conventions(tmp_path, LAYER.format(forward, backward)) == [("L", kind, f"{forward}/{backward}")]


FUNCTIONS = [
    ("affine_forward", "affine_backward", "pair"),
    ("conv_forward_naive", "conv_backward_naive", "pair"),
    ("batchnorm_forward", "batchnorm_backward_alt", "pair"),
    ("forward_relu", "backward_relu", "pair"),
    ("relu", "relu_backward", "pair"),
    ("swish", "swish_prime", "point"),
    ("f", "df", "point"),
    ("sigmoid", "sigmoid_derivative", "point"),
    ("elu", "elu_grad", "point"),
    ("tanh", "de_tanh", "point"),
]


@pytest.mark.parametrize(("forward", "backward", "kind"), FUNCTIONS)
def test_pairs_of_functions_are_found(tmp_path, forward, backward, kind):
    second = "x" if kind == "point" else "d, cache"
    code = f"def {forward}(x): return x\ndef {backward}({second}): return 1\n"
    assert conventions(tmp_path, code) == [(forward, kind, f"{forward}/{backward}")]


FALSE_FRIENDS = [
    ("def loss(x): return x\ndef numerical_gradient(f, x): return x", "a checker"),
    ("def zero(x): return x\ndef zero_grad(x): return x", "a verb"),
    ("def clip(x): return x\ndef clip_grad(x): return x", "a verb"),
    ("class SGD:\n    def step(self, p): return p\n    def zero_grad(self, p): return p", "an optimizer"),
    (
        LAYER.format("forward", "backward").replace("class L", "class GaussianHMM"),
        "forward-backward of a Markov model",
    ),
    (
        "class L:\n    def forward(self, x): raise NotImplementedError\n    def backward(self, d): ...",
        "an abstract base",
    ),
    (
        "class S:\n    def __call__(self, x): return x\n    def derivative(self, nu=1): return self",
        "makes a new spline",
    ),
    ("def forward(obs): return obs\ndef backward(obs): return obs", "bare names of a Markov model"),
    ("def step(x): return x\ndef dstep(s, t, n): return s", "a discrete namesake"),
    ("def test_forward(x): return x\ndef test_backward(x): return x", "tests"),
]


@pytest.mark.parametrize(("code", "why"), FALSE_FRIENDS, ids=[why for _, why in FALSE_FRIENDS])
def test_false_friends_are_left_alone(tmp_path, code, why):
    assert found(tmp_path, code) == ()


def test_a_derivative_inherited_from_the_same_file_counts(tmp_path):
    code = LAYER.format("forward", "backward") + "class M(L):\n    def forward(self, x): return 2 * x\n"
    assert [symbol for symbol, *_ in conventions(tmp_path, code)] == ["L", "M"]


def test_static_functions_in_a_class_are_found(tmp_path):
    code = """
        class Activations:
            @staticmethod
            def relu(x): return x
            @staticmethod
            def relu_prime(x): return x
    """
    assert conventions(tmp_path, code) == [("Activations.relu", "point", "relu/relu_prime")]


def test_a_class_of_a_framework_is_an_entry_with_a_reason(tmp_path):
    code = "from torch import nn\n"
    code += LAYER.format("forward", "backward").replace("class L", "class M(nn.Module)")
    (candidate,) = found(tmp_path, code)
    assert "PyTorch" in candidate.blocker
    assert candidate.remedy == "in a test: gv.check(M(...), x)"


def test_a_backprop_with_targets_of_its_own_is_a_training_step(tmp_path):
    code = "class N:\n    def feedforward(self, a): return a\n    def backprop(self, x, y): return x\n"
    (candidate,) = found(tmp_path, code)
    assert (candidate.kind, candidate.symbol) == ("training", "sample:N")


def test_defaults_of_positional_only_arguments_are_read(tmp_path):
    code = "def sigmoid(x, y=1, derivative=False, /):\n    return x\ndef f(x=1, /): return x\n"
    assert conventions(tmp_path, code) == [("sigmoid", "flag", "sigmoid/derivative=True")]


def test_a_file_with_a_syntax_error_is_an_entry_with_a_reason(tmp_path):
    (candidate,) = found(tmp_path, "def f(:\n")
    assert candidate.blocker.startswith("the file cannot be read as Python (line 1: ")


def test_discovery_runs_nothing(tmp_path):
    assert len(found(tmp_path, "raise SystemExit\ndef f(x): return x\ndef f_prime(x): return x\n")) == 1


def test_the_candidates_stand_in_the_order_of_the_files(tmp_path):
    for name in ("b", "a"):
        (tmp_path / f"{name}.py").write_text(
            "def g(x): return x\ndef dg(x): return x\ndef f(x): return x\ndef df(x): return x\n"
        )
    assert [c.symbol for c in find(tmp_path)] == ["a:g", "a:f", "b:g", "b:f"]
