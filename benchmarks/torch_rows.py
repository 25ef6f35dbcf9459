"""Operators and modules of PyTorch, each at a point inside its domain, away from ties unless the name says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from operatortables import Row
from torch import nn
from torch.nn import functional as F  # noqa: N812

G = torch.Generator().manual_seed(2026)


def drawn(*shape: int) -> Any:
    """Normal numbers."""
    return torch.randn(*shape, generator=G, dtype=torch.float64)


def within(low: float, high: float, *shape: int) -> Any:
    """Uniform numbers."""
    return low + (high - low) * torch.rand(*shape, generator=G, dtype=torch.float64)


def complex_drawn(*shape: int) -> Any:
    """Complex normal numbers."""
    return torch.complex(drawn(*shape), drawn(*shape))


def definite(n: int) -> Any:
    """A symmetric positive definite matrix."""
    a = drawn(n, n)
    return a @ a.T + n * torch.eye(n, dtype=torch.float64)


def of(names: str, make: Callable[[], tuple[Any, ...]], home: Any = torch, prefix: str = "torch.") -> Iterator[Row]:
    """Functions of one home at one kind of point."""
    for name in names.split():
        function = home
        for part in name.split("."):
            function = getattr(function, part)
        yield Row(f"{prefix}{name}", function, make())


def rows_of(table: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]) -> Iterator[Row]:
    """Functions each at a point of its own."""
    for name, (function, inputs) in table.items():
        yield Row(name, function, inputs)


def elementwise() -> Iterator[Row]:
    """Functions of one, two and three numbers."""
    yield from of("abs absolute atan arctan asinh arcsinh cos cosh deg2rad erf erfc exp exp2 expm1 floor ceil round trunc "
                  "frac neg negative positive rad2deg relu sgn sigmoid sign sin sinc sinh square tan tanh nan_to_num selu "
                  "special.expit special.erfcx special.i0 special.i0e special.i1 special.i1e special.ndtr "
                  "special.log_ndtr special.sinc special.expm1 special.exp2 special.erf special.erfc celu",
                  lambda: (drawn(3, 4),))
    yield from of("log log10 log1p log2 rsqrt sqrt reciprocal digamma lgamma special.gammaln special.psi special.entr",
                  lambda: (within(0.3, 3.0, 3, 4),))
    yield from of("acos arccos asin arcsin atanh arctanh erfinv special.erfinv", lambda: (within(-0.9, 0.9, 3, 4),))
    yield from of("logit special.logit special.ndtri", lambda: (within(0.1, 0.9, 3, 4),))
    yield from of("acosh arccosh", lambda: (within(1.2, 4.0, 3, 4),))
    yield from of("add sub subtract mul multiply maximum minimum fmax fmin logaddexp logaddexp2 hypot atan2 arctan2 "
                  "copysign rsub", lambda: (drawn(3, 4), drawn(3, 4)))
    yield from of("div divide true_divide fmod remainder pow float_power xlogy special.xlog1py",
                  lambda: (within(0.5, 3.0, 3, 4), within(0.6, 2.0, 3, 4)))
    yield from of("lerp addcmul", lambda: (drawn(3, 4), drawn(3, 4), drawn(3, 4)))
    yield Row("torch.polygamma 1", lambda x: torch.polygamma(1, x), (within(0.5, 2, 4),), known=(
        "PyTorch: the value has ten digits (at 1.1 it is off by 4.9e-10 of itself, against mpmath), the gradient all of "
        "them: so the gradient is not that of the values"))
    yield from rows_of({
        "torch.addcdiv": (torch.addcdiv, (drawn(3), drawn(3), within(0.5, 2, 3))),
        "torch.add, broadcast": (torch.add, (drawn(3, 4), drawn(4))),
        "torch.mul, broadcast": (torch.mul, (drawn(3, 1), drawn(1, 4))),
        "torch.div, rounded": (lambda x, y: torch.div(x, y, rounding_mode="floor"), (drawn(3), within(1, 2, 3))),
        "torch.pow, square": (lambda x: x**2, (drawn(3, 4),)),
        "torch.pow, cube": (lambda x: x**3, (drawn(3, 4),)),
        "torch.pow, root": (lambda x: x**0.5, (within(0.5, 2, 3, 4),)),
        "torch.pow, of a number": (lambda x: torch.pow(1.7, x), (drawn(3, 4),)),
        "torch.clamp": (lambda x: x.clamp(-0.5, 0.7), (drawn(3, 4),)),
        "torch.clamp, by tensors": (torch.clamp, (drawn(3, 4), drawn(3, 4) - 2, drawn(3, 4) + 2)),
        "torch.ldexp": (lambda x: torch.ldexp(x, torch.tensor([1, 2, 3])), (drawn(3),)),
        "torch.polygamma 2": (lambda x: torch.polygamma(2, x), (within(0.5, 2, 4),)),
        "torch.mvlgamma": (lambda x: torch.mvlgamma(x, 2), (within(2, 4, 4),)),
        "torch.where": (lambda x, y: torch.where(x > 0, x * y, y), (drawn(3, 4), drawn(3, 4))),
        "torch.special.zeta": (lambda x: torch.special.zeta(torch.full((3,), 2.5, dtype=x.dtype), x), (within(1, 2, 3),)),
        "torch.complex": (torch.complex, (drawn(3), drawn(3))),
        "torch.polar": (torch.polar, (within(0.5, 2, 3), drawn(3))),
    })


def complex_ones() -> Iterator[Row]:
    """The same on complex numbers, by PyTorch's convention."""
    yield from of("abs angle conj cos cosh exp log sin sinh sqrt tanh square reciprocal sgn real imag view_as_real "
                  "sigmoid", lambda: (complex_drawn(3, 2),), prefix="complex torch.")
    yield from of("add mul sub div", lambda: (complex_drawn(3, 2), complex_drawn(3, 2)), prefix="complex torch.")
    yield from of("matmul", lambda: (complex_drawn(3, 2), complex_drawn(2, 3)), prefix="complex torch.")
    yield from of("prod sum mean", lambda: (complex_drawn(3, 2),), prefix="complex torch.")
    yield from of("inv det", lambda: (complex_drawn(3, 3),), torch.linalg, "complex torch.linalg.")


def reductions() -> Iterator[Row]:
    """Over everything, and over an axis."""
    yield from of("sum mean prod var std logsumexp_all amax amin max min median nanmedian nansum nanmean "
                  "norm".replace("logsumexp_all ", ""), lambda: (drawn(3, 4),))
    for name in ("sum mean prod var std logsumexp amax amin max min median nanmedian nansum nanmean cumsum cumprod "
                 "cummax cummin logcumsumexp kthvalue mode sort softmax log_softmax").split():
        more = (2,) if name == "kthvalue" else ()
        yield Row(f"torch.{name}, an axis", lambda x, f=getattr(torch, name), m=more: f(x, *m, -1), (drawn(3, 4),))
    yield Row("torch.max, ties", torch.max, (torch.ones(4, dtype=torch.float64),), known=(
        "a tie: the gradient is shared, which is one of many right answers, and no direction but one has a derivative"))
    yield from rows_of({
        "torch.var_mean": (torch.var_mean, (drawn(3, 4),)),
        "torch.std_mean": (torch.std_mean, (drawn(3, 4),)),
        "torch.var, biased": (lambda x: torch.var(x, 0, correction=0), (drawn(3, 4),)),
        "torch.aminmax": (torch.aminmax, (drawn(3, 4),)),
        "torch.diff": (torch.diff, (drawn(3, 4),)),
        "torch.trapezoid": (torch.trapezoid, (drawn(3, 4),)),
        "torch.cumulative_trapezoid": (torch.cumulative_trapezoid, (drawn(3, 4),)),
        "torch.quantile": (lambda x: torch.quantile(x, 0.3), (drawn(7),)),
        "torch.nanquantile": (lambda x: torch.nanquantile(x, 0.3), (drawn(7),)),
        "torch.topk": (lambda x: x.topk(2).values, (drawn(3, 4),)),
        "torch.msort": (torch.msort, (drawn(3, 4),)),
        "torch.renorm": (lambda x: torch.renorm(x, 2, 0, 1.0), (drawn(3, 4),)),
        "torch.dist": (torch.dist, (drawn(3, 4), drawn(3, 4))),
        "torch.prod, a zero": (torch.prod, (torch.tensor([1.5, 0.0, -2.0], dtype=torch.float64),)),
        "torch.cumprod, a zero": (lambda x: x.cumprod(0), (torch.tensor([1.5, 0.0, -2.0], dtype=torch.float64),)),
        "torch.norm at 0": (torch.norm, (torch.zeros(4, dtype=torch.float64),)),
        **{f"torch.linalg.vector_norm {p}": (lambda x, p=p: torch.linalg.vector_norm(x, p), (drawn(3, 4),))
           for p in (0.5, 1, 2, 3, float("inf"), -float("inf"))},
    })


INDEX = torch.tensor([0, 2, 2])
WHERE = torch.tensor([[0, 1, 2, 0], [2, 0, 0, 1]])
MASK = torch.tensor([[True, False, True, False]] * 3)


def shapes() -> Iterator[Row]:
    """Moving numbers about: layouts, indices, scatters."""
    yield from of("t flatten ravel clone fliplr flipud rot90 diag tril triu atleast_2d diag_embed diagonal squeeze hstack_"
                  .replace(" hstack_", ""), lambda: (drawn(3, 4),))
    yield from of("block_diag kron outer_".replace(" outer_", ""), lambda: (drawn(2, 3), drawn(2, 2)))
    yield from of("cartesian_prod meshgrid", lambda: (drawn(3), drawn(2)))
    for name in ("cat", "stack", "hstack", "vstack", "dstack", "column_stack"):
        yield Row(f"torch.{name}", lambda x, y, f=getattr(torch, name): f((x, y)), (drawn(3, 4), drawn(3, 4)))
    x, s = drawn(3, 4), drawn(2, 4)
    yield from rows_of({name: (function, (x.clone(),)) for name, function in {
        "reshape": lambda x: x.reshape(2, 6), "view": lambda x: x.view(4, 3), "transpose": lambda x: x.transpose(0, 1),
        "permute": lambda x: x.permute(1, 0), "unflatten": lambda x: x.unflatten(1, (2, 2)),
        "unsqueeze": lambda x: x.unsqueeze(1), "expand": lambda x: x.unsqueeze(0).expand(2, 3, 4),
        "repeat": lambda x: x.repeat(2, 1), "tile": lambda x: x.tile(2), "flip": lambda x: x.flip(0, 1),
        "roll": lambda x: x.roll(1, 1), "split": lambda x: x.split(2, 1), "chunk": lambda x: x.chunk(3),
        "tensor_split": lambda x: x.tensor_split(3, 1), "unbind": lambda x: x.unbind(),
        "narrow": lambda x: x.narrow(1, 1, 2), "select": lambda x: x.select(0, 1), "slicing": lambda x: x[::2, 1:],
        "index_select": lambda x: x.index_select(0, INDEX), "masked_select": lambda x: x.masked_select(MASK),
        "take": lambda x: x.take(torch.tensor([0, 5, 5])), "gather": lambda x: x.gather(0, WHERE),
        "take_along_dim": lambda x: x.take_along_dim(WHERE, 0), "indexing": lambda x: x[INDEX, [1, 0, 0]],
        "masked_fill": lambda x: x.masked_fill(MASK, 2.0), "index_fill": lambda x: x.index_fill(0, INDEX, 1.5),
        "unfold": lambda x: x.unfold(1, 2, 1), "movedim": lambda x: x.movedim(0, 1), "swapaxes": lambda x: x.swapaxes(0, 1),
        "repeat_interleave": lambda x: x.repeat_interleave(2, 1), "broadcast_to": lambda x: x.broadcast_to(2, 3, 4),
        "as_strided": lambda x: x.as_strided((2, 2), (1, 2)), "contiguous": lambda x: x.t().contiguous(),
        "in-place exp": lambda x: x.clone().exp_(), "assignment to rows": assigned,
        "combinations": lambda x: torch.combinations(x[0]),
    }.items()})
    yield Row("scatter_reduce prod", lambda x, s: x.scatter_reduce(0, WHERE, s, "prod"), (drawn(3, 4), drawn(2, 4)), known=(
        "PyTorch: forward mode answers zero; the backward is right. By hand: `torch.func.jvp(lambda x: x.scatter_reduce(0, "
        "torch.tensor([0]), torch.tensor([3.0]), 'prod'), (torch.tensor([1.5]),), (torch.ones(1),))` gives the tangent 0, "
        "and a difference 3"))
    yield from rows_of({
        "scatter": (lambda x, s: x.scatter(0, WHERE[:, :], s), (drawn(3, 4), drawn(2, 4))),
        "scatter_add": (lambda x, s: x.scatter_add(0, WHERE, s), (x.clone(), s.clone())),
        **{f"scatter_reduce {how}": (lambda x, s, how=how: x.scatter_reduce(0, WHERE, s, how), (drawn(3, 4), drawn(2, 4)))
           for how in ("sum", "mean", "amax", "amin")},
        "index_add": (lambda x, s: x.index_add(0, INDEX, s), (drawn(3, 4), drawn(3, 4))),
        "index_copy": (lambda x, s: x.index_copy(0, torch.tensor([2, 0]), s), (drawn(3, 4), drawn(2, 4))),
        "index_put, accumulating": (lambda x, s: x.index_put((INDEX,), s, accumulate=True), (drawn(3, 4), drawn(3, 4))),
        "masked_scatter": (lambda x, s: x.masked_scatter(MASK, s), (drawn(3, 4), drawn(6))),
        "select_scatter": (lambda x, s: x.select_scatter(s, 0, 1), (drawn(3, 4), drawn(4))),
        "slice_scatter": (lambda x, s: x.slice_scatter(s, 0, 1, 3), (drawn(3, 4), drawn(2, 4))),
        "diagonal_scatter": (lambda x, s: x.diagonal_scatter(s), (drawn(3, 4), drawn(3))),
    })


def assigned(x: Any) -> Any:
    """Rows written one after the other."""
    y = torch.zeros_like(x)
    for i in range(len(x)):
        y[i] = x[i] * x[i - 1]
    return y


def linear_algebra() -> Iterator[Row]:
    """Products, solves and factorisations."""
    a, b, m = drawn(3, 4), drawn(4, 2), definite(3)
    yield from rows_of({
        "matmul": (torch.matmul, (a, b)), "mm": (torch.mm, (drawn(2, 3), drawn(3, 2))), "bmm": (torch.bmm, (drawn(2, 3, 2), drawn(2, 2, 3))),
        "mv": (torch.mv, (drawn(3, 2), drawn(2))), "dot": (torch.dot, (drawn(4), drawn(4))), "vdot": (torch.vdot, (drawn(4), drawn(4))),
        "inner": (torch.inner, (drawn(2, 4), drawn(3, 4))), "outer": (torch.outer, (drawn(3), drawn(4))),
        "addmm": (torch.addmm, (drawn(3, 2), drawn(3, 4), drawn(4, 2))), "addmv": (torch.addmv, (drawn(3), drawn(3, 2), drawn(2))),
        "addbmm": (torch.addbmm, (drawn(3, 2), drawn(2, 3, 4), drawn(2, 4, 2))), "addr": (torch.addr, (drawn(3, 4), drawn(3), drawn(4))),
        "baddbmm": (torch.baddbmm, (drawn(2, 3, 2), drawn(2, 3, 4), drawn(2, 4, 2))), "cross": (torch.linalg.cross, (drawn(2, 3), drawn(2, 3))),
        "multi_dot": (lambda x, y, z: torch.linalg.multi_dot((x, y, z)), (drawn(2, 3), drawn(3, 2), drawn(2, 4))),
        "tensordot": (lambda x, y: torch.tensordot(x, y, 2), (drawn(2, 3, 4), drawn(3, 4, 2))), "trace": (torch.trace, (drawn(3, 3),)),
        "einsum ij,jk": (lambda x, y: torch.einsum("ij,jk->ik", x, y), (drawn(2, 3), drawn(3, 2))),
        "einsum ij,ij": (lambda x, y: torch.einsum("ij,ij->", x, y), (drawn(2, 3), drawn(2, 3))),
        "einsum bij,bjk,bk": (lambda x, y, z: torch.einsum("bij,bjk,bk->bi", x, y, z), (drawn(2, 3, 2), drawn(2, 2, 4), drawn(2, 4))),
        "einsum ii": (lambda x: torch.einsum("ii->i", x), (drawn(3, 3),)), "bilinear": (F.bilinear, (drawn(2, 3), drawn(2, 4), drawn(5, 3, 4))),
        "vecdot": (torch.linalg.vecdot, (drawn(3, 4), drawn(3, 4))), "cov": (torch.cov, (drawn(3, 5),)), "corrcoef": (torch.corrcoef, (drawn(3, 5),)),
        "cdist 1": (lambda x, y: torch.cdist(x, y, 1.0), (drawn(3, 2), drawn(4, 2))), "cdist 2": (torch.cdist, (drawn(3, 2), drawn(4, 2))),
        "cdist 3": (lambda x, y: torch.cdist(x, y, 3.0), (drawn(3, 2), drawn(4, 2))), "pdist": (F.pdist, (drawn(4, 3),)),
        "logdet": (torch.logdet, (m.clone(),)),
        "symmetric eigenvalues": (lambda x: torch.linalg.eigvalsh(x + x.T), (drawn(3, 3),)),
        "symmetric eigenvectors, squared": (lambda x: torch.linalg.eigh(x + x.T).eigenvectors ** 2, (drawn(3, 3),)),
    })
    symmetric = "needs a symmetric matrix, which `domain=` says; gradcheck cannot be told"
    inverse = ("PyTorch: forward mode is wrong, the backward right. By hand, for a Cholesky factor L and a lower triangular v: "
               "`torch.func.jvp(torch.cholesky_inverse, (L,), (v,))[1]` is off by 25 % from `(f(L + h v) - f(L - h v)) / 2h`")
    for name, function, inputs, leaf in (
        ("linalg.cholesky", torch.linalg.cholesky, (definite(3),), "x"),
        ("cholesky_solve", lambda x, f: torch.cholesky_solve(x, torch.linalg.cholesky(f)), (drawn(3, 2), definite(3)), "f"),
        ("cholesky_inverse", lambda f: torch.cholesky_inverse(torch.linalg.cholesky(f)), (definite(3),), "f"),
    ):
        yield Row(name, function, inputs, {"domain": {leaf: "spd"}}, inverse if name == "cholesky_inverse" else symmetric)
    yield from of("inv pinv det slogdet matrix_exp svdvals matrix_norm cond eigvals", lambda: (drawn(3, 3),), torch.linalg, "linalg.")
    yield from rows_of({
        "linalg.solve": (torch.linalg.solve, (drawn(3, 3), drawn(3, 2))),
        "linalg.lstsq": (lambda x, y: torch.linalg.lstsq(x, y).solution, (drawn(4, 3), drawn(4, 2))), "linalg.qr": (torch.linalg.qr, (drawn(4, 3),)),
        "linalg.matrix_power": (lambda x: torch.linalg.matrix_power(x, 3), (drawn(3, 3),)), "linalg.vander": (torch.linalg.vander, (drawn(4),)),
        "linalg.solve_triangular": (lambda x, y: torch.linalg.solve_triangular(x, y, upper=True), (drawn(3, 3) + 2 * torch.eye(3), drawn(3, 2))),
        "linalg.matrix_norm nuc": (lambda x: torch.linalg.matrix_norm(x, "nuc"), (drawn(3, 4),)), "linalg.lu": (lambda x: torch.linalg.lu(x)[1:], (drawn(3, 3),)),
        "linalg.matrix_norm 2": (lambda x: torch.linalg.matrix_norm(x, 2), (drawn(3, 4),)), "linalg.tensorinv": (lambda x: torch.linalg.tensorinv(x, 1), (drawn(4, 2, 2),)),
        "linalg.householder_product": (torch.linalg.householder_product, (drawn(4, 2), within(0.5, 1, 2))), "linalg.tensorsolve": (torch.linalg.tensorsolve, (drawn(2, 2, 4), drawn(2, 2))),
        "linalg.lu_solve": (lambda a, b: torch.linalg.lu_solve(*torch.linalg.lu_factor(a), b), (drawn(3, 3), drawn(3, 2))),
    })
    for name in ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft", "fft2", "ifft2", "rfft2", "irfft2", "fftn", "fftshift"):
        yield Row(f"fft.{name}", getattr(torch.fft, name), (drawn(3, 4),))
    yield Row("stft", lambda x: torch.stft(x, 8, window=torch.hann_window(8, dtype=x.dtype), return_complex=True), (drawn(32),))


def activations() -> Iterator[Row]:
    """The activations of `torch.nn.functional`."""
    yield from of("relu relu6 elu celu selu gelu silu mish softplus softsign tanhshrink softshrink hardshrink hardtanh "
                  "hardswish leaky_relu logsigmoid glu", lambda: (drawn(3, 4),), F, "F.")
    yield Row("F.hardsigmoid", F.hardsigmoid, (drawn(3, 4),), known=(
        "PyTorch: both derivatives multiply by 1/6 rounded to float32. By hand: `x = torch.zeros(1, dtype=torch.float64, "
        "requires_grad=True); F.hardsigmoid(x).backward(); x.grad - 1/6` is 5.0e-09, not 0"))
    yield from rows_of({
        "F.gelu tanh": (lambda x: F.gelu(x, approximate="tanh"), (drawn(3, 4),)), "F.rrelu": (F.rrelu, (drawn(3, 4),)),
        "F.threshold": (lambda x: F.threshold(x, 0.1, 2.0), (drawn(3, 4),)), "F.softmin": (lambda x: F.softmin(x, -1), (drawn(3, 4),)),
        "F.softmax": (lambda x: F.softmax(x, -1), (drawn(3, 4),)), "F.log_softmax": (lambda x: F.log_softmax(x, -1), (drawn(3, 4),)),
        "F.gumbel_softmax": (F.gumbel_softmax, (drawn(3, 4),)), "F.prelu": (F.prelu, (drawn(3, 4), within(0.1, 0.5, 4))),
        "F.normalize": (F.normalize, (drawn(3, 4),)), "F.dropout": (F.dropout, (drawn(3, 4),)), "F.alpha_dropout": (lambda x: F.alpha_dropout(x, training=True), (drawn(3, 4),)),
        "F.dropout2d": (F.dropout2d, (drawn(2, 3, 2, 2),)), "F.local_response_norm": (lambda x: F.local_response_norm(x, 2), (drawn(2, 4, 3),)),
        "F.relu at 0": (F.relu, (torch.zeros(5, dtype=torch.float64),)), "F.leaky_relu at 0": (F.leaky_relu, (torch.zeros(5, dtype=torch.float64),)),
        "torch.abs at 0": (torch.abs, (torch.zeros(5, dtype=torch.float64),)), "F.softplus, steep": (lambda x: F.softplus(x, 5.0), (drawn(3, 4),)),
        "F.sigmoid, saturated": (torch.sigmoid, (torch.tensor([-40.0, -12.0, 12.0], dtype=torch.float64),)),
    })


LABELS, SHARES = torch.tensor([0, 3, 1]), torch.softmax(drawn(3, 4), -1)


def losses() -> Iterator[Row]:
    """The losses, by all they are differentiated by."""
    x, y, sign = drawn(3, 4), drawn(3, 4), torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    yield from of("mse_loss l1_loss smooth_l1_loss huber_loss", lambda: (drawn(3, 4), drawn(3, 4)), F, "F.")
    yield from rows_of({
        "F.cross_entropy": (lambda x: F.cross_entropy(x, LABELS), (x.clone(),)),
        "F.cross_entropy, weights": (lambda x, w: F.cross_entropy(x, LABELS, w), (x.clone(), within(0.5, 2, 4))),
        "F.cross_entropy, smoothed": (lambda x: F.cross_entropy(x, LABELS, label_smoothing=0.1), (x.clone(),)),
        "F.cross_entropy, shares": (F.cross_entropy, (x.clone(), SHARES.clone())),
        "F.cross_entropy, ignored": (lambda x: F.cross_entropy(x, LABELS, ignore_index=3), (x.clone(),)),
        "F.cross_entropy, none": (lambda x: F.cross_entropy(x, LABELS, reduction="none"), (x.clone(),)),
        "F.nll_loss": (lambda x: F.nll_loss(x, LABELS), (x.clone(),)), "F.nll_loss, 2d": (lambda x: F.nll_loss(x, torch.zeros(2, 2, 2).long()), (drawn(2, 3, 2, 2),)),
        "F.binary_cross_entropy": (lambda p: F.binary_cross_entropy(p, SHARES), (within(0.1, 0.9, 3, 4),)),
        "F.binary_cross_entropy, both": (F.binary_cross_entropy, (within(0.1, 0.9, 3, 4), within(0.1, 0.9, 3, 4))),
        "F.binary_cross_entropy_with_logits": (F.binary_cross_entropy_with_logits, (x.clone(), SHARES.clone())),
        "F.bce with logits, weights": (lambda x, w: F.binary_cross_entropy_with_logits(x, SHARES, pos_weight=w), (x.clone(), within(0.5, 2, 4))),
        "F.kl_div": (lambda x, p: F.kl_div(x, p, reduction="batchmean"), (torch.log_softmax(x, -1), SHARES.clone())),
        "F.poisson_nll_loss": (F.poisson_nll_loss, (x.clone(), within(0.5, 2, 3, 4))),
        "F.poisson_nll_loss, full": (lambda x, t: F.poisson_nll_loss(x, t, full=True), (x.clone(), within(1.5, 3, 3, 4))),
        "F.gaussian_nll_loss": (F.gaussian_nll_loss, (x.clone(), y.clone(), within(0.5, 2, 3, 4))),
        "F.cosine_embedding_loss": (lambda x, y: F.cosine_embedding_loss(x, y, sign), (x.clone(), y.clone())),
        "F.hinge_embedding_loss": (lambda x: F.hinge_embedding_loss(x, sign), (drawn(3),)),
        "F.margin_ranking_loss": (lambda x, y: F.margin_ranking_loss(x, y, sign, margin=0.3), (drawn(3), drawn(3))),
        "F.multi_margin_loss": (lambda x: F.multi_margin_loss(x, LABELS), (x.clone(),)),
        "F.multilabel_margin_loss": (lambda x: F.multilabel_margin_loss(x, torch.tensor([[0, 1, -1, 0]] * 3)), (x.clone(),)),
        "F.multilabel_soft_margin_loss": (F.multilabel_soft_margin_loss, (x.clone(), SHARES.clone())),
        "F.soft_margin_loss": (lambda x: F.soft_margin_loss(x, sign), (drawn(3),)),
        "F.triplet_margin_loss": (F.triplet_margin_loss, (x.clone(), y.clone(), drawn(3, 4))),
        "F.triplet_margin_with_distance_loss": (F.triplet_margin_with_distance_loss, (x.clone(), y.clone(), drawn(3, 4))),
        "F.ctc_loss": (lambda x: F.ctc_loss(x.log_softmax(-1), torch.tensor([[1, 2]]), [5], [2]), (drawn(5, 1, 3),)),
        "F.cosine_similarity": (F.cosine_similarity, (x.clone(), y.clone())), "F.pairwise_distance": (F.pairwise_distance, (x.clone(), y.clone())),
    })


def windows() -> Iterator[Row]:
    """Convolutions, pooling, resizing and padding."""
    for n, side in ((1, (6,)), (2, (5, 4)), (3, (3, 4, 3))):
        kernel = (3,) * n if n < 3 else (2,) * n
        conv, back = getattr(F, f"conv{n}d"), getattr(F, f"conv_transpose{n}d")
        yield Row(f"F.conv{n}d", conv, (drawn(2, 2, *side), drawn(3, 2, *kernel), drawn(3)))
        yield Row(f"F.conv{n}d, strided and padded", lambda x, w, f=conv: f(x, w, None, 2, 1), (drawn(2, 2, *side), drawn(3, 2, *kernel)))
        yield Row(f"F.conv{n}d, groups", lambda x, w, f=conv: f(x, w, groups=2), (drawn(1, 4, *side), drawn(2, 2, *kernel)))
        yield Row(f"F.conv_transpose{n}d", back, (drawn(1, 2, *side), drawn(2, 3, *kernel), drawn(3)))
        for pool in ("avg_pool", "max_pool", "lp_pool"):
            if (pool, n) != ("lp_pool", 3):
                args = (2.0, 2) if pool == "lp_pool" else (2,)
                x = within(0.5, 2, 1, 2, *side) if pool == "lp_pool" else drawn(1, 2, *side)
                yield Row(f"F.{pool}{n}d", lambda x, f=getattr(F, f"{pool}{n}d"), a=args: f(x, *a), (x,))
        for pool in ("adaptive_avg_pool", "adaptive_max_pool"):
            yield Row(f"F.{pool}{n}d", lambda x, f=getattr(F, f"{pool}{n}d"): f(x, 2), (drawn(1, 2, *side),))
        for mode in ("constant", "reflect", "replicate", "circular"):
            yield Row(f"F.pad {mode} {n}d", lambda x, m=mode, n=n: F.pad(x, (1,) * 2 * n, mode=m), (drawn(1, 2, *side),))
    image = drawn(1, 4, 4, 4)
    yield Row("F.conv2d, dilated", lambda x, w: F.conv2d(x, w, dilation=2), (drawn(1, 2, 6, 6), drawn(2, 2, 3, 3)))
    yield Row("F.conv2d, channels last", F.conv2d, (drawn(1, 2, 5, 5).to(memory_format=torch.channels_last), drawn(2, 2, 3, 3)))
    yield from rows_of({
        "F.unfold": (lambda x: F.unfold(x, 2), (image.clone(),)), "F.fold": (lambda x: F.fold(x, (3, 3), 2), (drawn(1, 8, 4),)),
        "F.pixel_shuffle": (lambda x: F.pixel_shuffle(x, 2), (image.clone(),)), "F.pixel_unshuffle": (lambda x: F.pixel_unshuffle(x, 2), (image.clone(),)),
        "F.channel_shuffle": (lambda x: F.channel_shuffle(x, 2), (image.clone(),)), "F.max_unpool2d": (lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2), (image.clone(),)),
        "F.affine_grid": (lambda t: F.affine_grid(t, [1, 2, 3, 3], align_corners=False), (drawn(1, 2, 3),)),
        **{f"F.grid_sample {mode}": (lambda x, g, m=mode: F.grid_sample(x, g, mode=m, align_corners=False), (image.clone(), within(-0.83, 0.81, 1, 3, 3, 2)))
           for mode in ("bilinear", "bicubic")},
        **{f"F.interpolate {mode}": (lambda x, m=mode: F.interpolate(x, scale_factor=2, mode=m), (drawn(1, 2, 3, 3),)) for mode in ("nearest", "nearest-exact", "bilinear", "bicubic", "area")},
        "F.interpolate linear": (lambda x: F.interpolate(x, size=5, mode="linear"), (drawn(1, 2, 3),)), "F.interpolate trilinear": (lambda x: F.interpolate(x, size=3, mode="trilinear"), (drawn(1, 1, 2, 2, 2),)),
    })


def normalisations() -> Iterator[Row]:
    """Normalising functions with all they are differentiated by."""
    x, w, b = drawn(4, 6), within(0.5, 2, 6), drawn(6)
    yield from rows_of({
        "F.layer_norm": (lambda x, w, b: F.layer_norm(x, (6,), w, b), (x.clone(), w.clone(), b.clone())), "F.rms_norm": (lambda x, w: F.rms_norm(x, (6,), w), (x.clone(), w.clone())),
        "F.batch_norm, training": (lambda x, w, b: F.batch_norm(x, None, None, w, b, True), (x.clone(), w.clone(), b.clone())),
        "F.batch_norm, fixed": (lambda x, w, b: F.batch_norm(x, torch.zeros(6).double(), torch.ones(6).double(), w, b), (x.clone(), w.clone(), b.clone())),
        "F.group_norm": (lambda x, w, b: F.group_norm(x, 2, w, b), (x.clone(), w.clone(), b.clone())), "F.instance_norm": (F.instance_norm, (drawn(2, 3, 5),)),
        "weight norm": (nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)).double(), (drawn(2, 3),)), "spectral norm, evaluated": (nn.utils.parametrizations.spectral_norm(nn.Linear(3, 2)).double().eval(), (drawn(2, 3),)),
    })


def modules() -> Iterator[Row]:
    """Layers and small networks, their parameters as leaves too."""
    torch.manual_seed(0)
    one, seq = (drawn(2, 4),), (drawn(3, 2, 4),)
    built = {
        "Linear": (nn.Linear(4, 3), one), "Linear, no bias": (nn.Linear(4, 3, bias=False), one), "Bilinear": (nn.Bilinear(4, 3, 2), (drawn(2, 4), drawn(2, 3))),
        "Embedding": (nn.Embedding(5, 3), (torch.tensor([0, 2, 2]),)), "Embedding, padded": (nn.Embedding(5, 3, padding_idx=2), (torch.tensor([0, 2, 1]),)),
        **{f"EmbeddingBag {mode}": (nn.EmbeddingBag(5, 3, mode=mode), (torch.tensor([[0, 2], [2, 4]]),)) for mode in ("sum", "mean", "max")},
        "RNN": (nn.RNN(4, 3), seq), "RNN relu": (nn.RNN(4, 3, nonlinearity="relu"), seq), "LSTM": (nn.LSTM(4, 3), seq), "LSTM, two ways": (nn.LSTM(4, 2, bidirectional=True), seq),
        "LSTM, two layers": (nn.LSTM(4, 2, 2), seq), "LSTM, projected": (nn.LSTM(4, 3, proj_size=2), seq), "GRU": (nn.GRU(4, 3), seq), "RNNCell": (nn.RNNCell(4, 3), one), "LSTMCell": (nn.LSTMCell(4, 3), one), "GRUCell": (nn.GRUCell(4, 3), one),
        "MultiheadAttention": (nn.MultiheadAttention(4, 2), (drawn(3, 2, 4), drawn(3, 2, 4), drawn(3, 2, 4))), "TransformerEncoderLayer": (nn.TransformerEncoderLayer(4, 2, 6, 0.0), seq),
        "TransformerEncoderLayer, norm first": (nn.TransformerEncoderLayer(4, 2, 6, 0.0, activation="gelu", norm_first=True), seq), "TransformerDecoderLayer": (nn.TransformerDecoderLayer(4, 2, 6, 0.0), (drawn(3, 2, 4), drawn(2, 2, 4))),
        "TransformerEncoderLayer, dropout": (nn.TransformerEncoderLayer(4, 2, 6, 0.3), seq), "BatchNorm1d": (nn.BatchNorm1d(4), (drawn(5, 4),)), "BatchNorm2d": (nn.BatchNorm2d(2), (drawn(2, 2, 3, 3),)), "BatchNorm1d, evaluated": (nn.BatchNorm1d(4).eval(), one),
        "LayerNorm": (nn.LayerNorm(4), one), "GroupNorm": (nn.GroupNorm(2, 4), one), "RMSNorm": (nn.RMSNorm(4), one), "InstanceNorm1d": (nn.InstanceNorm1d(2, affine=True), (drawn(2, 2, 5),)), "PReLU": (nn.PReLU(), one),
        "Conv1d": (nn.Conv1d(2, 3, 3), (drawn(2, 2, 5),)), "Conv2d, circular": (nn.Conv2d(2, 2, 3, padding=1, padding_mode="circular"), (drawn(1, 2, 4, 4),)), "ConvTranspose2d": (nn.ConvTranspose2d(2, 2, 3, stride=2), (drawn(1, 2, 3, 3),)),
        "Softmax2d": (nn.Softmax2d(), (drawn(1, 2, 2, 2),)), "AdaptiveLogSoftmaxWithLoss": (nn.AdaptiveLogSoftmaxWithLoss(4, 6, [2, 4]), (drawn(3, 4), torch.tensor([0, 3, 5]))),
        "MLP, tanh": (nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)), one), "MLP, relu": (nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), one), "convolutional network": (nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 2)), (drawn(2, 1, 6, 6),)),
        "tied weights": (Tied(), one), "checkpointed": (Checkpointed(), one),
    }  # fmt: skip
    for name, (module, inputs) in built.items():
        known = "by design: the padding row gets no gradient, though the forward reads it"
        yield Row(f"nn {name}", module.double(), inputs, known=known if name == "Embedding, padded" else "")
    yield Row("F.scaled_dot_product_attention", F.scaled_dot_product_attention, (drawn(2, 3, 4), drawn(2, 3, 4), drawn(2, 3, 4)))
    yield Row("F.scaled_dot_product_attention, causal", lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True), (drawn(2, 3, 4), drawn(2, 3, 4), drawn(2, 3, 4)))


class Tied(nn.Module):
    """One weight used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.lift = nn.Linear(4, 3, bias=False)

    def forward(self, x: Any) -> Any:
        return torch.tanh(self.lift(x)) @ self.lift.weight


class Checkpointed(nn.Module):
    """Runs its forward again in the backward."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))

    def forward(self, x: Any) -> Any:
        return torch.utils.checkpoint.checkpoint(self.net, x, use_reentrant=False)


def all_rows() -> list[Row]:
    """Every row, in the order of the table."""
    groups = (elementwise, complex_ones, reductions, shapes, linear_algebra, activations, losses, windows, normalisations, modules)
    return [row for group in groups for row in group()]
