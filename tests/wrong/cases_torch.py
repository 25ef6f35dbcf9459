"""PyTorch: autograd.Function subclasses, modules and functions with hooks; each wrong one beside its twin."""

from __future__ import annotations

import torch
from catalogue import NONE, QUICK, Right, Wrong
from torch import nn

torch.manual_seed(0)
G = torch.Generator().manual_seed(121)


def drawn(*shape, dtype=torch.float64):
    return torch.randn(*shape, generator=G, dtype=dtype)


X, W, B = drawn(3, 4), drawn(2, 4), drawn(2)
X32 = drawn(3, 4, dtype=torch.float32)


def make(name, forward, backward):
    """An `autograd.Function` of two plain functions: forward(ctx, ...) and backward(ctx, ...)."""
    body = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type(name, (torch.autograd.Function,), body)


def save_input(f):
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return f(x)

    return forward


def save_output(f):
    def forward(ctx, x):
        y = f(x)
        ctx.save_for_backward(y)
        return y

    return forward


def elementwise(name, f, df):
    return make(name, save_input(f), lambda ctx, dy: dy * df(*ctx.saved_tensors))


def linear(ctx, x, w, b):
    ctx.save_for_backward(x, w)
    return x @ w.t() + b


def linear_back(ctx, dy):
    x, w = ctx.saved_tensors
    return dy @ w, dy.t() @ x, dy.sum(0)


def linear_with(change):
    def back(ctx, dy):
        return change(*linear_back(ctx, dy), ctx, dy)

    return make("Linear", linear, back)


def needs_first_only(ctx, dy):
    x, w = ctx.saved_tensors
    if not ctx.needs_input_grad[0]:
        return None, None, None
    return dy @ w, dy.t() @ x, dy.sum(0)


def wrong_without_x(ctx, dy):
    """Right only while all inputs ask for a gradient."""
    x, w = ctx.saved_tensors
    if all(ctx.needs_input_grad):
        return dy @ w, dy.t() @ x, dy.sum(0)
    return dy @ w, 2 * dy.t() @ x, dy.sum(0)


def softmax_diagonal(ctx, dy):
    (y,) = ctx.saved_tensors
    return dy * y * (1 - y)


def softmax_back(ctx, dy):
    (y,) = ctx.saved_tensors
    return y * (dy - (dy * y).sum(-1, keepdim=True))


def softmax(x):
    return torch.softmax(x, -1)


def mask_in_place(ctx, dy):
    (x,) = ctx.saved_tensors
    return dy.mul_(x > 0)


def views_upstream(ctx, dy):
    return (dy.view(-1) * torch.cos(*ctx.saved_tensors).view(-1)).view(dy.shape)


def reshapes_upstream(ctx, dy):
    return (dy.reshape(-1) * torch.cos(*ctx.saved_tensors).view(-1)).view(dy.shape)


def asks_for_contiguous(ctx, dy):
    assert dy.is_contiguous()
    return dy * torch.cos(*ctx.saved_tensors)


def storage_order(ctx, dy):
    (x,) = ctx.saved_tensors
    flat = torch.as_strided(dy, (dy.numel(),), (1,)) if 0 not in dy.stride() else dy.reshape(-1)
    return flat.reshape(dy.shape) * torch.cos(x)


def rms(ctx, x, w):
    inv = torch.rsqrt((x * x).mean(-1, keepdim=True) + 1e-6)
    ctx.save_for_backward(x, inv, w)
    return x * inv * w


def rms_back(ctx, dy):
    x, inv, w = ctx.saved_tensors
    h, g = x * inv, dy * w
    return inv * (g - h * (g * h).mean(-1, keepdim=True)), (dy * h).sum(0)


def rms_constant_norm(ctx, dy):
    x, inv, w = ctx.saved_tensors
    return inv * dy * w, (dy * x * inv).sum(0)


def two_outputs(ctx, x):
    ctx.save_for_backward(x)
    return torch.sin(x), torch.cos(x)


class Detached(nn.Module):
    """A linear module whose weight is detached in the forward."""

    def __init__(self, *, wrong=False):
        super().__init__()
        self.weight = nn.Parameter(W.clone())
        self.bias = nn.Parameter(B.clone())
        self.wrong = wrong

    def forward(self, x):
        return x @ (self.weight.detach() if self.wrong else self.weight).t() + self.bias


class Hooked(nn.Module):
    """A module whose weight's gradient is scaled by a hook, and forgotten there."""

    def __init__(self, *, wrong=False):
        super().__init__()
        self.weight = nn.Parameter(W.clone())
        self.wrong = wrong

    def forward(self, x):
        w = self.weight * 1.0
        if self.wrong and w.requires_grad:
            w.register_hook(lambda g: g * 0.5)
        return torch.tanh(x @ w.t())


def straight_through(x):
    return x + (torch.round(x) - x).detach()


def no_grad_inside(x, w):
    with torch.no_grad():
        scale = w.abs().mean()
    return x * scale + (x * w).sum()


def through_item(x):
    return x * float(x.detach().sum())


def cuberoot(x):
    return torch.sign(x) * torch.abs(x).pow(1 / 3)


def save_both(ctx, a, b):
    ctx.save_for_backward(a, b)
    return a * b


def multiply_with(conj):
    def back(ctx, dy):
        a, b = ctx.saved_tensors
        da, db = dy * conj(b), dy * conj(a)
        return da if a.is_complex() else da.real, db

    return make("Multiply", save_both, back)


def magnitude_with(conj):
    return make("Magnitude", save_input(lambda z: (z * z.conj()).real),
                lambda ctx, dy: 2 * dy * conj(*ctx.saved_tensors))


Z = drawn(2, 3, dtype=torch.complex128)
Z2 = drawn(2, 3, dtype=torch.complex128)

SINE = elementwise("Sine", torch.sin, torch.cos)

def scaled_square(ctx, x, w):
    ctx.save_for_backward(x, w)
    return (x**2 * w.sin()).sum()


def scaled_square_back(ctx, u, *, detach=False):
    x, w = ctx.saved_tensors
    dw = u * x**2 * w.cos()
    return u * 2 * x * w.sin(), dw.detach() if detach else dw


TWICE = {"order": 2, "search": "none"}

CASES = [
    Right("torch second order of two leaves", make("Scaled", scaled_square, scaled_square_back), (X[0], X[1]), TWICE),
    Wrong("torch second order: that of a parameter detached",
          make("Scaled", scaled_square, lambda ctx, u: scaled_square_back(ctx, u, detach=True)), (X[0], X[1]), "w",
          "zero-gradient", TWICE),
    Right("torch complex product", multiply_with(torch.conj), (Z, Z2)),
    Wrong("torch complex product: conj missing", multiply_with(lambda z: z), (Z, Z2), "a.imag", "conj-missing"),
    Wrong("torch real times complex: conj missing", multiply_with(lambda z: z), (Z.real.clone(), Z2), "a",
          "conj-missing"),
    Right("torch squared magnitude", magnitude_with(lambda z: z), Z),
    Wrong("torch squared magnitude: conj too many", magnitude_with(torch.conj), Z, "x.imag", "conj-missing"),
    Right("torch sine", SINE, X),
    Wrong("torch sine: sign", elementwise("Sine", torch.sin, lambda x: -torch.cos(x)), X, "x", "sign"),
    Wrong("torch sine: factor 1 + 1e-7", elementwise("Sine", torch.sin, lambda x: (1 + 1e-7) * torch.cos(x)), X, "x",
          "factor"),
    Wrong("torch sigmoid: of the activation, twice",
          elementwise("Sigmoid", torch.sigmoid,
                      lambda x: torch.sigmoid(torch.sigmoid(x)) * (1 - torch.sigmoid(torch.sigmoid(x)))), X, "x",
          "derivative-at-activation"),
    Wrong("torch relu: NaN at zero", elementwise("Relu", torch.relu, lambda x: torch.relu(x) / x), X, "x",
          "nonfinite", QUICK),
    Right("torch relu", elementwise("Relu", torch.relu, lambda x: (x > 0).to(x.dtype)), X),
    Right("torch linear", make("Linear", linear, linear_back), (X, W, B)),
    Wrong("torch linear: dw averaged over the batch", linear_with(lambda dx, dw, db, ctx, dy: (dx, dw / 3, db)),
          (X, W, B), "w", "factor"),
    Wrong("torch linear: db of the first row", linear_with(lambda dx, dw, db, ctx, dy: (dx, dw, dy[0])), (X, W, B), "b",
          "unexplained|not-summed"),
    Wrong("torch linear: dw of the first row",
          linear_with(lambda dx, dw, db, ctx, dy: (dx, torch.outer(dy[0], ctx.saved_tensors[0][0]), db)),
          (X, W, B), "w", "overwritten"),
    Wrong("torch linear: None for b", linear_with(lambda dx, dw, db, ctx, dy: (dx, dw, None)), (X, W, B), "b",
          "missing|zero-gradient"),
    Wrong("torch linear: zero for x", linear_with(lambda dx, dw, db, ctx, dy: (0 * dx, dw, db)), (X, W, B), "x",
          "zero-gradient"),
    Wrong("torch linear: only the first input's need is asked", make("Linear", linear, needs_first_only), (X, W, B),
          "w",
          "missing|zero-gradient|subset", QUICK),
    Wrong("torch linear: another path for a subset of inputs", make("Linear", linear, wrong_without_x), (X, W, B),
          "w", "factor|subset", QUICK),
    Right("torch softmax", make("Softmax", save_output(softmax), softmax_back), X),
    Wrong("torch softmax: diagonal only", make("Softmax", save_output(softmax), softmax_diagonal), X, "x",
          "diagonal-only"),
    Wrong("torch relu: upstream gradient masked in place", make("Relu", save_input(torch.relu), mask_in_place), X, "x",
          "mutated-upstream", QUICK),
    Wrong("torch sine: upstream gradient read in storage order", make("Sine", save_input(torch.sin), storage_order),
          X, "x",
          "upstream-layout", QUICK),
    Wrong("torch sine: upstream gradient ignored",
          make("Sine", save_input(torch.sin), lambda ctx, dy: torch.cos(*ctx.saved_tensors)), X,
          "x", "upstream-ignored"),
    Right("torch rmsnorm", make("Rms", rms, rms_back), (X, drawn(4))),
    Wrong("torch rmsnorm: norm taken for a constant", make("Rms", rms, rms_constant_norm), (X, drawn(4)), "x",
          "missing-norm-term"),
    Right("torch two outputs",
          make("Two", two_outputs,
               lambda ctx, a, b: a * torch.cos(*ctx.saved_tensors) - b * torch.sin(*ctx.saved_tensors)),
          X),
    Wrong("torch two outputs: the second forgotten",
          make("Two", two_outputs, lambda ctx, a, b: a * torch.cos(*ctx.saved_tensors)), X, "x",
          "output-forgotten"),
    Right("torch module", Detached(), X),
    Wrong("torch module: weight detached", Detached(wrong=True), X, "weight", "zero-gradient|missing"),
    Wrong("torch module: a hook halves the gradient", Hooked(wrong=True), X, "weight", "factor"),
    Right("torch module with a hook", Hooked(), X),
    Wrong("torch function: a scale computed without gradient", no_grad_inside, (X, X.flip(0) + 3), "w",
          "missing-mean-term"),
    Wrong("torch function: a sum through float()", through_item, X, "x", "missing-mean-term|unexplained"),
    Right("torch float32 gelu", nn.functional.gelu, X32),
    Right("torch float32 layer norm", nn.LayerNorm(4), X32),
    Right("torch linear layer", nn.Linear(4, 2).double(), X),
    Right("torch conv", nn.Conv1d(2, 3, 3, padding=1).double(), drawn(2, 2, 5), NONE),
    Right("torch where around sqrt",
          lambda x: torch.where(x > 0, torch.sqrt(torch.where(x > 0, x, torch.ones_like(x))),
                                torch.zeros_like(x)), X),
    Wrong("torch where around sqrt: NaN from the branch not taken",
          lambda x: torch.where(x > 0, torch.sqrt(x), torch.zeros_like(x)), X, "x", "nonfinite"),
    Wrong("torch function: strides of its own, refused by what is expanded",
          make("Strided", save_input(torch.sin),
               lambda ctx, g: torch.as_strided(g, g.shape, (g.shape[1], 1)) * torch.cos(*ctx.saved_tensors)), X, "x",
          "upstream-layout", QUICK),
    Wrong("torch sine: upstream gradient viewed", make("Sine", save_input(torch.sin), views_upstream), X, "x",
          "upstream-refused", QUICK),
    Wrong("torch sine: upstream gradient must be contiguous", make("Sine", save_input(torch.sin), asks_for_contiguous),
          X, "x", "upstream-refused", QUICK),
    Right("torch sine: upstream gradient reshaped", make("Sine", save_input(torch.sin), reshapes_upstream), X),
    Right("torch lstm", nn.LSTM(4, 3).double(), X, NONE),
    Right("torch batch norm", nn.BatchNorm1d(4).double(), X),
    Right("torch max over ties", lambda x: x.max(-1).values, torch.ones(2, 3, dtype=torch.float64)),
    Wrong("torch float32: factor 1.01", elementwise("Sine", torch.sin, lambda x: 1.01 * torch.cos(x)), X32, "x",
          "factor"),
]
