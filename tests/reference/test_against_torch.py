"""Values and gradients equal PyTorch's in float64, with the same parameters at the same points, to 1e-12."""

from __future__ import annotations

import numpy as np
import pytest

from gradverify.reference import (
    AveragePool,
    BatchNorm,
    Conv,
    ConvTransposed,
    Dense,
    Embedding,
    GlobalPool,
    GroupNorm,
    LayerNorm,
    MaxPool,
    RMSNorm,
    evaluating,
)

torch = pytest.importorskip("torch")
F = torch.nn.functional
RNG = np.random.default_rng(0)
ROWS, LINE, PLANE = RNG.normal(size=(5, 4)), RNG.normal(size=(2, 4, 9)), RNG.normal(size=(2, 4, 7, 6))


def tensor(array):
    return torch.tensor(array, requires_grad=np.asarray(array).dtype.kind == "f")


def close(computed, expected):
    expected = expected.detach().numpy()
    np.testing.assert_allclose(computed, expected, rtol=1e-12, atol=1e-12 * np.abs(expected).max(initial=0))


def assert_same(layer, function, x):
    """`function(x, **params)` of torch is the layer, and autograd its pullback."""
    params = {name: w + 0.1 * RNG.normal(size=w.shape) for name, w in layer.init(np.random.default_rng(1)).items()}
    if "variance" in params:
        params["variance"] = np.abs(params["variance"])
    tensors, tx = {name: tensor(w) for name, w in params.items()}, tensor(x)
    y, pullback = layer.forward(params, x)
    ty = function(tx, **tensors)
    close(y, ty)
    u = RNG.normal(size=y.shape)
    ty.backward(torch.tensor(u))
    dparams, dx = pullback(u)
    for computed, at in ((dx, tx), *((dparams[name], tensors[name]) for name in dparams)):
        assert (computed is None) == (not at.requires_grad or at.grad is None)
        if computed is not None:
            close(computed, at.grad)


@pytest.mark.parametrize("how", [
    {}, {"stride": 2, "padding": 1, "dilation": 2, "groups": 2}, {"stride": 3, "groups": 4, "padding": 2},
], ids=str)
@pytest.mark.parametrize(("x", "conv", "transposed"), [(LINE, F.conv1d, F.conv_transpose1d),
                                                      (PLANE, F.conv2d, F.conv_transpose2d)], ids=["1d", "2d"])
def test_convolution_and_its_transpose(x, conv, transposed, how):
    size = (3, 2)[: x.ndim - 2]
    assert_same(Conv(4, 8, size, **how), lambda x, W, b: conv(x, W, b, **how), x)
    assert_same(ConvTransposed(4, 8, size, **how), lambda x, W, b: transposed(x, W, b, **how), x)


def test_an_extra_row_of_a_transposed_convolution():
    layer = ConvTransposed(4, 2, (3,), stride=3, extra=2, bias=False)
    assert_same(layer, lambda x, W: F.conv_transpose1d(x, W, stride=3, output_padding=2), LINE)


@pytest.mark.parametrize(("layer", "function", "x"), [
    (Dense(4, 3), lambda x, W, b: F.linear(x, W.T, b), ROWS),
    (MaxPool((3, 2), stride=(1, 2), padding=1), lambda x: F.max_pool2d(x, (3, 2), (1, 2), 1), PLANE),
    (MaxPool((2,), dilation=3, stride=1), lambda x: F.max_pool1d(x, 2, 1, dilation=3), LINE),
    (MaxPool((2, 2)), lambda x: F.max_pool2d(x, 2), np.round(PLANE)),
    (AveragePool((3, 2), stride=2, padding=1), lambda x: F.avg_pool2d(x, (3, 2), 2, 1), PLANE),
    (GlobalPool(), lambda x: x.mean((2, 3)), PLANE), (GlobalPool("max"), lambda x: x.amax((2, 3)), PLANE),
    (BatchNorm(4), lambda x, scale, shift, **_: F.batch_norm(x, None, None, scale, shift, True), PLANE),
    (BatchNorm(4), lambda x, scale, shift, **_: F.batch_norm(x, None, None, scale, shift, True), ROWS),
    (evaluating(BatchNorm(4)), lambda x, scale, shift, mean, variance:
        F.batch_norm(x, mean.detach(), variance.detach(), scale, shift, False), PLANE),
    (LayerNorm((7, 6)), lambda x, scale, shift: F.layer_norm(x, (7, 6), scale, shift), PLANE),
    (GroupNorm(2, 4), lambda x, scale, shift: F.group_norm(x, 2, scale, shift), PLANE),
    (RMSNorm((6,)), lambda x, scale: F.rms_norm(x, (6,), scale, 1e-5), PLANE),
    (Embedding(6, 3), lambda x, W: F.embedding(x, W), np.array([[2, 0, 2], [5, 2, 1]])),
    (Embedding(6, 3, padding=2), lambda x, W: F.embedding(x, W, padding_idx=2), np.array([[2, 0, 2], [5, 2, 1]])),
], ids=repr)
def test_a_layer(layer, function, x):
    assert_same(layer, function, x)


def test_running_statistics():
    layer, theirs = BatchNorm(4), torch.nn.BatchNorm2d(4, dtype=torch.float64)
    params = layer.init(None)
    for k in range(3):
        params = layer.advance(params, PLANE * (k + 1) + k)
        theirs(torch.tensor(PLANE * (k + 1) + k))
    close(params["mean"], theirs.running_mean)
    close(params["variance"], theirs.running_var)
