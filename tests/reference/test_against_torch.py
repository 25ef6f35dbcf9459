"""Values and gradients equal PyTorch's in float64, with the same parameters at the same points, to 1e-12."""

from __future__ import annotations

import numpy as np
import pytest

from gradverify.reference import (
    GLU,
    GRU,
    KL,
    LSTM,
    MAE,
    MSE,
    NLL,
    RNN,
    SGD,
    Activation,
    Adam,
    AdamW,
    Attention,
    AveragePool,
    BatchNorm,
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Conv,
    ConvTransposed,
    Cosine,
    CrossEntropy,
    Dense,
    Embedding,
    GlobalPool,
    GroupNorm,
    Huber,
    LayerNorm,
    LogSoftmax,
    MaxPool,
    Momentum,
    MultiHeadAttention,
    Nesterov,
    Poisson,
    PReLU,
    RMSNorm,
    RMSprop,
    Softmax,
    clip_global_norm,
    clip_value,
    evaluating,
)
from tests.naming import stable
from tests.reference.agreement import noted

torch = pytest.importorskip("torch")
F = torch.nn.functional
RNG = np.random.default_rng(0)
ROWS, LINE, PLANE = RNG.normal(size=(5, 4)), RNG.normal(size=(2, 4, 9)), RNG.normal(size=(2, 4, 7, 6))


def tensor(array):
    return torch.tensor(array, requires_grad=np.asarray(array).dtype.kind == "f")


def close(computed, expected):
    expected = expected.detach().numpy()
    noted("PyTorch", computed, expected)
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
], ids=stable)
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
    (Embedding(6, 3), lambda x, W: F.embedding(x, weight=W), np.array([[2, 0, 2], [5, 2, 1]])),
    (Embedding(6, 3, padding=2), lambda x, W: F.embedding(x, W, padding_idx=2), np.array([[2, 0, 2], [5, 2, 1]])),
], ids=stable)
def test_a_layer(layer, function, x):
    assert_same(layer, function, x)


CURVE = np.array([-40.0, -8.0, -3.0, -2.5, -1.0, -0.3, 0.0, 0.2, 1.0, 2.0, 3.0, 5.0, 9.0, 40.0]).reshape(2, 7)


@pytest.mark.parametrize(("layer", "function"), [
    *((Activation(name), getattr(F, theirs)) for name, theirs in {
        "relu": "relu", "leaky_relu": "leaky_relu", "log_sigmoid": "logsigmoid", "silu": "silu", "gelu": "gelu",
        "elu": "elu", "selu": "selu", "celu": "celu", "mish": "mish", "softsign": "softsign",
        "hard_tanh": "hardtanh", "hard_swish": "hardswish"}.items()),
    (Activation("sigmoid"), torch.sigmoid), (Activation("tanh"), torch.tanh),
    (Activation("softplus"), lambda x: F.softplus(x, threshold=100)),
    (Activation("gelu_tanh"), lambda x: F.gelu(x, approximate="tanh")),
    (Activation("elu", 0.5), lambda x: F.elu(x, 0.5)), (Activation("celu", 2.0), lambda x: F.celu(x, 2.0)),
    (Softmax(), lambda x: F.softmax(x, -1)), (LogSoftmax(), lambda x: F.log_softmax(x, -1)),
    *((PReLU(channels), lambda x, **params: F.prelu(x, params["a"])) for channels in (1, 7)),
], ids=stable)
def test_an_activation(layer, function):
    assert_same(layer, function, CURVE)


def test_the_hard_sigmoid_of_torch_has_a_sixth_in_single_precision():
    y, pullback = Activation("hard_sigmoid").forward({}, CURVE)
    x = tensor(CURVE)
    F.hardsigmoid(x).sum().backward()
    close(y, F.hardsigmoid(x))
    np.testing.assert_array_equal(x.grad != 0, pullback(np.ones_like(y))[1] != 0)
    np.testing.assert_allclose(x.grad[x.grad != 0], 1 / 6, rtol=4e-8)


@pytest.mark.parametrize(("gate", "function"), [("sigmoid", torch.sigmoid), ("tanh", torch.tanh),
                                                ("gelu", F.gelu), ("silu", F.silu), ("relu", F.relu)])
def test_a_gated_unit(gate, function):
    assert_same(GLU(gate), lambda x: x[..., :2] * function(x[..., 2:]), ROWS)


SCORES, LABELS = 3 * ROWS, np.array([3, 0, 0, 2, 1])
SOFT = np.exp(ROWS) / np.exp(ROWS).sum(-1, keepdims=True)
YES = np.array([[1.0, 0.0, 0.3, 1.0]] * 5)
WEIGHTS = (0.5, 2.0, 1.0, 3.0)
tw = torch.tensor(WEIGHTS, dtype=torch.float64)


def probabilities(z):
    return np.exp(z) / np.exp(z).sum(-1, keepdims=True)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("loss", "function", "t", "y"), [
    (MSE, F.mse_loss, YES, ROWS), (MAE, F.l1_loss, YES, ROWS), (MAE, F.l1_loss, YES, YES),
    (lambda **k: Huber(0.7, **k), lambda y, t, **k: F.huber_loss(y, t, delta=0.7, **k), YES, ROWS),
    (Poisson, F.poisson_nll_loss, YES, ROWS),
    (lambda **k: Poisson(False, **k), lambda y, t, **k: F.poisson_nll_loss(y, t, log_input=False, eps=0, **k),
        YES, SOFT),
    (CrossEntropy, F.cross_entropy, LABELS, SCORES), (CrossEntropy, F.cross_entropy, SOFT, SCORES),
    (lambda **k: CrossEntropy(0.2, WEIGHTS, **k),
        lambda y, t, **k: F.cross_entropy(y, t, tw, label_smoothing=0.2, **k), LABELS, SCORES),
    (lambda **k: CrossEntropy(0.2, WEIGHTS, **k),
        lambda y, t, **k: F.cross_entropy(y, t, tw, label_smoothing=0.2, **k), SOFT, SCORES),
    (lambda **k: NLL(0.0, WEIGHTS, **k), lambda y, t, **k: F.nll_loss(y, t, tw, **k), LABELS, np.log(SOFT)),
    (CategoricalCrossEntropy, lambda y, t, **k: F.nll_loss(torch.log(y), t, **k), LABELS, SOFT),
    (BinaryCrossEntropy, F.binary_cross_entropy_with_logits, YES, SCORES),
    (BinaryCrossEntropy, F.binary_cross_entropy_with_logits, YES, 20 * SCORES),
    (lambda **k: BinaryCrossEntropy(positive_weight=3.0, **k), lambda y, t, **k:
        F.binary_cross_entropy_with_logits(y, t, pos_weight=torch.tensor(3.0, dtype=torch.float64), **k), YES, SCORES),
    (lambda **k: BinaryCrossEntropy(False, **k), F.binary_cross_entropy, YES, SOFT),
    (Cosine, lambda y, t, reduction: getattr(1 - F.cosine_similarity(y, t), reduction, lambda: 1 - F.cosine_similarity(
        y, t))(), SOFT, ROWS),
], ids=stable)
def test_a_loss(loss, function, t, y, reduction):
    assert_loss(loss(reduction=reduction), lambda y, t: function(y, t, reduction=reduction), t, y)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_the_divergence_of_distributions(reduction):
    theirs = {"mean": "batchmean", "sum": "sum"}[reduction]
    assert_loss(KL(reduction), lambda y, t: F.kl_div(y, t, reduction=theirs), SOFT, np.log(SOFT[::-1]))


def assert_loss(loss, function, t, y):
    value, pullback = loss.forward(t, y)
    tt, ty = tensor(t), tensor(y)
    expected = function(ty, tt)
    close(value, expected)
    u = RNG.normal(size=np.shape(value))
    expected.backward(torch.tensor(u))
    dt, dy = pullback(u)
    close(dy, ty.grad)
    if tt.requires_grad:
        close(dt, tt.grad)


def test_running_statistics():
    layer, theirs = BatchNorm(4), torch.nn.BatchNorm2d(4, dtype=torch.float64)
    params = layer.init(None)
    for k in range(3):
        params = layer.advance(params, PLANE * (k + 1) + k)
        theirs(torch.tensor(PLANE * (k + 1) + k))
    close(params["mean"], theirs.running_mean)
    close(params["variance"], theirs.running_var)


OPTIMIZERS = torch.optim


@pytest.mark.parametrize(("ours", "theirs"), [
    (SGD(0.1), lambda p: OPTIMIZERS.SGD(p, 0.1)), (Momentum(0.1, 0.8), lambda p: OPTIMIZERS.SGD(p, 0.1, 0.8)),
    (Nesterov(0.1, 0.8), lambda p: OPTIMIZERS.SGD(p, 0.1, 0.8, nesterov=True)),
    (RMSprop(0.1, 0.9), lambda p: OPTIMIZERS.RMSprop(p, 0.1, 0.9)), (Adam(0.1), lambda p: OPTIMIZERS.Adam(p, 0.1)),
    (Adam(0.1, (0.5, 0.7), 1e-3), lambda p: OPTIMIZERS.Adam(p, 0.1, (0.5, 0.7), 1e-3)),
    (AdamW(0.1, 0.3), lambda p: OPTIMIZERS.AdamW(p, 0.1, weight_decay=0.3)),
], ids=stable)
def test_the_iterates_of_an_optimizer(ours, theirs):
    params = {"W": ROWS.copy(), "b": np.zeros(4)}
    tensors = {name: tensor(w) for name, w in params.items()}
    optimizer, state = theirs(list(tensors.values())), ours.init(params)
    for step in range(30):
        grads = {"W": ROWS * np.cos(step / 5), "b": np.linspace(1e-4, 1.0, 4) / (step + 1)}
        for name, w in tensors.items():
            w.grad = torch.tensor(grads[name])
        params, state = ours.step(params, grads, state)
        optimizer.step()
        for name, w in tensors.items():
            close(params[name], w)


def test_clipping():
    grads = {"W": ROWS, "b": 3 * ROWS[0]}
    tensors = {name: torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64)) for name, g in grads.items()}
    for name, w in tensors.items():
        w.grad = torch.tensor(grads[name])
    torch.nn.utils.clip_grad_norm_(tensors.values(), 1.5)
    clipped = clip_global_norm(grads, 1.5)
    for name, w in tensors.items():
        np.testing.assert_allclose(clipped[name], w.grad, rtol=1e-6)  # torch adds 1e-6 to the norm
    torch.nn.utils.clip_grad_value_(tensors.values(), 0.1)
    for name, w in tensors.items():
        np.testing.assert_allclose(clip_value(clipped, 0.1)[name], w.grad, rtol=1e-6)


STEPS = RNG.normal(size=(3, 6, 4))
STATES = {"h": RNG.normal(size=(3, 5)), "c": RNG.normal(size=(3, 5))}


def recurrent(kind):
    """A layer of torch's with random weights, the same layer here, and how its parameters are called."""
    theirs = kind(4, 5, batch_first=True, dtype=torch.float64)
    W, U, b, c = (parameter.detach().numpy() for parameter in theirs.parameters())
    params = {"W": W.T, "U": U.T, "b": b + c}
    return theirs, {**params, "b": b, "c": c} if kind is torch.nn.GRU else params


@pytest.mark.parametrize(("ours", "kind"), [(RNN(4, 5), torch.nn.RNN), (LSTM(4, 5), torch.nn.LSTM),
                                            (GRU(4, 5), torch.nn.GRU)], ids=stable)
@pytest.mark.parametrize("lengths", [None, [6, 3, 1]], ids=stable)
def test_a_recurrent_layer(ours, kind, lengths):
    theirs, params = recurrent(kind)
    names = ("h", "c") if kind is torch.nn.LSTM else ("h",)
    x = {"x": STEPS, **{name: STATES[name] for name in names}}
    tensors = {name: tensor(array) for name, array in x.items()}
    start = tuple(tensors[name][None] for name in names)
    sequence, mask = tensors["x"], np.ones((3, 6), bool)
    if lengths is not None:
        mask = np.arange(6) < np.array(lengths)[:, None]
        sequence = torch.nn.utils.rnn.pack_padded_sequence(sequence, lengths, batch_first=True)
    expected, _ = theirs(sequence, start if len(start) > 1 else start[0])
    if lengths is not None:
        expected, _ = torch.nn.utils.rnn.pad_packed_sequence(expected, batch_first=True)
    y, pullback = ours.forward(params, {**x, "mask": mask})
    close(np.where(mask[:, :, None], y, 0), expected)
    u = RNG.normal(size=y.shape) * mask[:, :, None]
    expected.backward(torch.tensor(u))
    dparams, dx = pullback(u)
    for name, array in tensors.items():
        close(dx[name], array.grad)
    dW, dU, db, dc = (parameter.grad for parameter in theirs.parameters())
    close(dparams["W"], dW.T)
    close(dparams["U"], dU.T)
    close(dparams["b"], db)
    close(dparams.get("c", dparams["b"]), dc)


SOME = RNG.random((2, 3, 5)) < 0.7
SOME[..., 0] = True


@pytest.mark.parametrize("mask", [None, SOME], ids=["whole", "masked"])
def test_scaled_dot_product_attention(mask):
    x = {"query": RNG.normal(size=(2, 3, 4)), "key": RNG.normal(size=(2, 5, 4)), "value": RNG.normal(size=(2, 5, 6))}
    tensors = {name: tensor(array) for name, array in x.items()}
    expected = F.scaled_dot_product_attention(*tensors.values(), attn_mask=None if mask is None else torch.tensor(mask))
    y, pullback = Attention().forward({}, x if mask is None else {**x, "mask": mask})
    close(y, expected)
    u = RNG.normal(size=y.shape)
    expected.backward(torch.tensor(u))
    for name, array in tensors.items():
        close(pullback(u)[1][name], array.grad)


@pytest.mark.parametrize("causal", [False, True])
def test_multi_head_attention_with_padding(causal):
    theirs = torch.nn.MultiheadAttention(4, 2, batch_first=True, dtype=torch.float64)
    W, b = (p.detach().numpy() for p in (theirs.in_proj_weight, theirs.in_proj_bias))
    names, parts = ("query", "key", "value"), [slice(4 * k, 4 * k + 4) for k in range(3)]
    params = {name: {"W": W[part].T, "b": b[part]} for name, part in zip(names, parts, strict=True)}
    params["out"] = {"W": theirs.out_proj.weight.detach().numpy().T, "b": theirs.out_proj.bias.detach().numpy()}
    there, x = np.arange(6) < np.array([6, 4, 1])[:, None], tensor(STEPS)
    blocked = torch.triu(torch.ones(6, 6, dtype=torch.bool), 1) if causal else None
    expected, _ = theirs(x, x, x, key_padding_mask=torch.tensor(~there), attn_mask=blocked, need_weights=False)
    y, pullback = MultiHeadAttention(4, 2, causal).forward(params, {"query": STEPS, "mask": there})
    close(y, expected)
    u = RNG.normal(size=y.shape)
    expected.backward(torch.tensor(u))
    dparams, dx = pullback(u)
    close(dx["query"], x.grad)
    close(np.concatenate([dparams[name]["W"].T for name in names]), theirs.in_proj_weight.grad)
    close(dparams["out"]["W"].T, theirs.out_proj.weight.grad)
