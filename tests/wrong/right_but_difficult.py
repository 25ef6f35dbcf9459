"""Right gradients that a checker is tempted to fail: each passes, or the row says why it may be inconclusive."""

from __future__ import annotations

import numpy as np
from catalogue import NONE, QUICK, Right
from scipy import special

import gradverify as gv
from gradverify import reference as rf

RNG = np.random.default_rng(120)
X = RNG.normal(size=(3, 4))
P = RNG.uniform(0.3, 2.0, size=(3, 4))
EMPTY = np.zeros((0, 3))


def fn(f, derivative):
    return gv.function(f, derivative=derivative)


def sigmoid(x):
    return special.expit(x)


def tanh(x):
    y = np.tanh(x)
    return y, y


def tanh_back(dy, y):
    return dy * (1 - y**2)


def sigmoid_pair(x):
    y = sigmoid(x)
    return y, y


def sigmoid_back(dy, y):
    return dy * y * (1 - y)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    y = e / e.sum(axis=-1, keepdims=True)
    return y, y


def softmax_back(dy, y):
    return y * (dy - (dy * y).sum(axis=-1, keepdims=True))


def layernorm(x):
    inv = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + x.dtype.type(1e-5))
    h = (x - x.mean(axis=-1, keepdims=True)) * inv
    return h, (h, inv)


def layernorm_back(dy, cache):
    h, inv = cache
    return inv * (dy - dy.mean(axis=-1, keepdims=True) - h * (dy * h).mean(axis=-1, keepdims=True))


def relu_net(x, w1, w2):
    h = x @ w1
    return np.maximum(h, 0) @ w2, (x, w1, w2, h)


def relu_net_back(dy, cache):
    x, w1, w2, h = cache
    dh = (dy @ w2.T) * (h > 0)
    return dh @ w1.T, x.T @ dh, np.maximum(h, 0).T @ dy


def deep(x, *ws):
    saved = [x]
    for w in ws:
        saved.append(np.tanh(saved[-1] @ w))
    return saved[-1], (saved, ws)


def deep_back(dy, cache):
    saved, ws = cache
    grads = []
    for i in range(len(ws) - 1, -1, -1):
        dz = dy * (1 - saved[i + 1] ** 2)
        grads.append(saved[i].T @ dz)
        dy = dz @ ws[i].T
    return (dy, *grads[::-1])


def shared_twice(x, w):
    return np.tanh(x @ w) @ w, (x, w)


def shared_twice_back(dy, cache):
    x, w = cache
    h = np.tanh(x @ w)
    dz = (dy @ w.T) * (1 - h**2)
    return dz @ w.T, h.T @ dy + x.T @ dz


def unused(x, y):
    return np.sin(x), (x, y)


def cosine_of_angle(x):
    return np.arctan2(np.sin(x), np.cos(x))


def newton_sqrt(x):
    y = 0.5 * (1 + x)
    for _ in range(20):
        y = 0.5 * (y + x / y)
    return y


def horner(x):
    y = np.zeros_like(x)
    for c in (1.0, -2.0, 3.0, -4.0, 5.0):
        y = y * x + c
    return y


def horner_d(x):
    return ((4 * x - 6) * x + 6) * x - 4


def logdet(x):
    return np.linalg.slogdet(x)[1]


def hilbert(n):
    i = np.arange(n)
    return 1.0 / (i[:, None] + i + 1)


def one_pass_variance(x):
    return np.mean(x**2) - np.mean(x) ** 2


def logsumexp(x):
    m = x.max()
    return m + np.log(np.sum(np.exp(x - m)))


def large(x, w):
    return np.tanh(x * w), (x, w)


def large_back(dy, cache):
    x, w = cache
    d = dy * (1 - np.tanh(x * w) ** 2)
    return d * w, d * x


MILLION = RNG.normal(size=1_000_000)
LEAVES = [RNG.normal(size=2) for _ in range(200)]


def many(xs):
    return sum(np.sum(np.sin(x)) for x in xs), lambda dy: [dy * np.cos(x) for x in xs]


def swish_beta(x, beta):
    return x * sigmoid(beta * x)


def swish_beta_vjp(x, beta, u):
    s = sigmoid(beta * x)
    return u * (s + beta * x * s * (1 - s)), np.sum(u * x**2 * s * (1 - s))


def sinc_d(x):
    small = np.abs(x) < 1e-4
    safe = np.where(small, 1.0, x)
    exact = np.cos(np.pi * safe) / safe - np.sin(np.pi * safe) / (np.pi * safe**2)
    return np.where(small, -(np.pi**2) * x / 3, exact)


def topk(x):
    idx = np.argsort(-x, axis=-1)[..., :2]
    return np.take_along_axis(x, idx, axis=-1), (x.shape, idx)


def topk_back(dy, cache):
    shape, idx = cache
    g = np.zeros(shape)
    np.put_along_axis(g, idx, dy, axis=-1)
    return g


def where_sqrt(x):
    safe = np.where(x > 0, x, 1.0)
    return np.where(x > 0, np.sqrt(safe), 0.0)


def where_sqrt_d(x):
    safe = np.where(x > 0, x, 1.0)
    return np.where(x > 0, 0.5 / np.sqrt(safe), 0.0)


def eigenvalues(a):
    return np.linalg.eigvalsh((a + a.T) / 2)


def eigenvalues_vjp(a, u):
    _, v = np.linalg.eigh((a + a.T) / 2)
    return (v * u) @ v.T


def singular_values(a):
    return np.linalg.svd(a, compute_uv=False)


def singular_values_vjp(a, u):
    left, _, right = np.linalg.svd(a, full_matrices=False)
    return (left * u) @ right


class Constant:
    """An output that does not depend on its input: a learned table."""

    def __init__(self):
        self.table = RNG.normal(size=(3, 4))

    def forward(self, x):
        self.x = x
        return self.table * 2.0

    def backward(self, dout):
        self.dtable = 2.0 * dout
        return np.zeros_like(self.x)


class EvalBatchNorm:
    """Batch normalisation in evaluation: running statistics are constants without gradients."""

    def __init__(self):
        self.gamma, self.beta = RNG.normal(size=4), RNG.normal(size=4)
        self.running_mean, self.running_var = RNG.normal(size=4), RNG.uniform(0.5, 2.0, size=4)

    def forward(self, x):
        self.h = (x - self.running_mean) / np.sqrt(self.running_var + 1e-5)
        return self.gamma * self.h + self.beta

    def backward(self, dout):
        self.dgamma, self.dbeta = (dout * self.h).sum(axis=0), dout.sum(axis=0)
        return dout * self.gamma / np.sqrt(self.running_var + 1e-5)


class TrainBatchNorm(EvalBatchNorm):
    """The same in training: the forward moves its running statistics."""

    def forward(self, x):
        mean, var = x.mean(axis=0), x.var(axis=0)
        self.running_mean = 0.9 * self.running_mean + 0.1 * mean
        self.running_var = 0.9 * self.running_var + 0.1 * var
        self.inv = 1 / np.sqrt(var + 1e-5)
        self.h = (x - mean) * self.inv
        return self.gamma * self.h + self.beta

    def backward(self, dout):
        self.dgamma, self.dbeta = (dout * self.h).sum(axis=0), dout.sum(axis=0)
        g = dout * self.gamma
        return self.inv * (g - g.mean(axis=0) - self.h * (g * self.h).mean(axis=0))


SATURATED = np.array([5.0, -12.0, 20.0, -40.0, 300.0])
NET = (RNG.normal(size=(2, 3)), RNG.normal(size=(3, 6)), RNG.normal(size=(6, 2)))
KINK = "a composition of kinks need not have a gradient between its one-sided slopes"

NORMED_RELU = rf.sequential(
    rf.LayerNorm((2,)), rf.Activation("relu"),
    rf.Residual(rf.sequential(rf.Dense(2, 2), rf.Activation("mish"))), rf.Dense(2, 1),
)
INNER = {"W": np.array([[-0.24, 0.93], [-0.24, -0.12]]), "b": np.zeros(2)}
OUTER = {"W": np.array([[-1.4], [0.13]]), "b": np.zeros(1)}
NORMED = ({"scale": np.ones(2), "shift": np.zeros(2)}, {}, {"body": (INNER, {})}, OUTER)
HALF_ZERO = np.array([[0.0, 0.0], [0.13, 0.0], [0.04, 0.48]])
ARCTAN2 = gv.function(np.arctan2, vjp=lambda y, x, u: (u * x / (x * x + y * y), -u * y / (x * x + y * y)))

CASES = [
    # exact kinks and ties
    Right("a relu network at the origin", gv.pair(relu_net, relu_net_back), (np.zeros((2, 3)), *NET[1:]), may=KINK),
    *(Right(f"two kinks that the input moves as one, seed {k}", NORMED_RELU, (NORMED, HALF_ZERO),
            {"search": "none", "seed": k}, may=KINK) for k in range(6)),
    Right("a relu network with a dead layer", gv.pair(relu_net, relu_net_back),
          (np.abs(NET[0]), -np.abs(NET[1]), NET[2])),
    Right("a relu network", gv.pair(relu_net, relu_net_back), NET),
    Right("top 2 with ties", gv.pair(topk, topk_back), np.array([[1.0, 1.0, 0.5], [3.0, 2.0, 2.0]])),
    Right("max of all equal, to the first",
          gv.function(np.max, gradient=lambda a: (np.arange(a.size) == a.argmax()) * 1.0), np.ones(5)),
    Right("where around sqrt at zeros", fn(where_sqrt, where_sqrt_d), np.array([0.0, 1.0, 4.0, -1.0]),
          may="the slope is infinite on one side of 0"),
    Right("norm of zeros, guarded", fn(lambda x: np.abs(x) ** 1.5, lambda x: 1.5 * np.sign(x) * np.abs(x) ** 0.5),
          np.zeros(3), NONE, may="a power of 3/2 at 0 has no series: no oracle resolves its zero to 1e-6"),
    Right("x |x| at zero", fn(lambda x: x * np.abs(x), lambda x: 2 * np.abs(x)), np.array([0.0, 1.0, -2.0])),
    Right("floor", fn(np.floor, np.zeros_like), X),
    Right("relu6 on its corners", fn(lambda x: np.clip(x, 0, 6), lambda x: ((x > 0) & (x < 6)) * 1.0),
          np.array([0.0, 6.0, 3.0, 7.0, -1.0])),
    Right("arctan2, NaN only where it jumps", ARCTAN2, (RNG.normal(size=4), RNG.normal(size=4)), QUICK),
    Right("arctan2, NaN at the jump given", ARCTAN2, (np.array([0.0, 1.0]), np.array([0.0, 1.0])),
          may="the forward jumps there"),
    Right("a third rounded to single precision",
          fn(lambda x: x / x.dtype.type(3), lambda x: np.full_like(x, 1 / np.float32(3))),
          X.astype(np.float32)),
    Right("sinc through zero", fn(np.sinc, sinc_d), np.array([0.0, 1e-9, 0.3, -2.0])),
    # scales
    Right("values 1e-12", fn(lambda x: 1e-12 * np.sin(x), lambda x: 1e-12 * np.cos(x)), X),
    Right("values 1e12", fn(lambda x: 1e12 * np.sin(x), lambda x: 1e12 * np.cos(x)), X),
    Right("values 1e-200", fn(lambda x: 1e-200 * np.sin(x), lambda x: 1e-200 * np.cos(x)), X),
    Right("values 1e200", fn(lambda x: 1e200 * np.sin(x), lambda x: 1e200 * np.cos(x)), X),
    Right("values 1e-310, denormal", fn(lambda x: 1e-310 * np.sin(x), lambda x: 1e-310 * np.cos(x)), X, NONE,
          may="denormal numbers have few digits"),
    Right("inputs 1e-12", fn(np.sin, np.cos), 1e-12 * X),
    Right("inputs 1e12", fn(np.log1p, lambda x: 1 / (1 + x)), 1e12 * P),
    Right("inputs of 1e-9 to 1e9", fn(lambda x: np.log1p(x**2), lambda x: 2 * x / (1 + x**2)),
          10.0 ** np.arange(-9, 10)),
    Right("a weight of 1e-12 beside inputs of 1e12", gv.pair(large, large_back), (1e12 * X, 1e-12 * X[::-1].copy())),
    Right("fast oscillation", fn(lambda x: np.sin(1e4 * x), lambda x: 1e4 * np.cos(1e4 * x)), X),
    Right("steep sigmoid", fn(lambda x: sigmoid(1e3 * x), lambda x: 1e3 * sigmoid(1e3 * x) * sigmoid(-1e3 * x)),
          1e-3 * X),
    Right("floor of large values", fn(np.floor, np.zeros_like), np.array([1e4 + 0.3, -2e4 + 0.6]), NONE),
    # offsets and cancellation
    Right("offset 1e6", fn(lambda x: 1e6 + np.sin(x), np.cos), X),
    Right("offset 1e9", fn(lambda x: 1e9 + np.sin(x), np.cos), X),
    Right("expm1 near zero", fn(np.expm1, np.exp), 1e-8 * X),
    Right("1 - cos near zero", fn(lambda x: 1 - np.cos(x), np.sin), 1e-4 * X),
    Right("one-pass variance with a mean of 1e3",
          gv.function(one_pass_variance, gradient=lambda x: 2 * (x - x.mean()) / x.size), 1e3 + X),
    Right("inputs far from zero, centred inside", fn(lambda x: (x - 1e6) ** 2, lambda x: 2 * (x - 1e6)), 1e6 + X),
    Right("layernorm with a mean of 1e4", gv.pair(layernorm, layernorm_back), 1e4 + X, NONE),
    Right("layernorm of nearly equal entries", gv.pair(layernorm, layernorm_back), 1 + 1e-6 * X, NONE),
    Right("layernorm of equal entries", gv.pair(layernorm, layernorm_back), np.ones((2, 4)), NONE),
    # saturation and true zeros
    Right("tanh in saturation, from its output", gv.pair(tanh, tanh_back), SATURATED, may="1 - y^2 has no digits left"),
    Right("sigmoid in saturation, from its output", gv.pair(sigmoid_pair, sigmoid_back), SATURATED,
          may="1 - y has no digits left"),
    Right("tanh in saturation, from its input", fn(np.tanh, lambda x: 1 / np.cosh(x) ** 2), SATURATED[:3],
          may="the value shows nothing of it"),
    Right("softmax, one-hot to rounding", gv.pair(softmax, softmax_back),
          np.array([[800.0, 0.0, -3.0], [1.0, 2.0, 50.0]])),
    Right("a constant", fn(lambda x: 0 * x + 1, np.zeros_like), X),
    Right("sin^2 + cos^2", fn(lambda x: np.sin(x) ** 2 + np.cos(x) ** 2, np.zeros_like), X,
          may="zero to rounding only"),
    Right("a sum of a softmax", gv.function(lambda x: softmax(x)[0].sum(), gradient=np.zeros_like), X,
          may="zero to rounding only"),
    Right("a table that ignores its input", Constant(), X),
    Right("an unused input", gv.pair(unused, lambda dy, c: (dy * np.cos(c[0]), np.zeros_like(c[1]))), (X, P)),
    Right("an unused input, None", gv.pair(unused, lambda dy, c: (dy * np.cos(c[0]), None)), (X, P)),
    Right("x - x", fn(lambda x: x - x, np.zeros_like), X),
    Right("a stationary point", fn(np.cos, lambda x: -np.sin(x)), np.zeros(3)),
    Right("x^4 at zero", fn(lambda x: x**4, lambda x: 4 * x**3), np.zeros(3)),
    Right("x^2 at zero", fn(np.square, lambda x: 2 * x), np.zeros(3)),
    Right("exp(-1/x^2) near zero", fn(lambda x: np.exp(-1 / x**2), lambda x: 2 / x**3 * np.exp(-1 / x**2)),
          np.array([0.05, 0.1, 0.3])),
    # conditioning and iterations
    Right("log det of a Hilbert matrix", gv.function(logdet, gradient=lambda x: np.linalg.inv(x).T), hilbert(6), NONE,
          may="condition number 1.5e7"),
    Right("Newton's square root", fn(newton_sqrt, lambda x: 0.5 / np.sqrt(x)), P),
    Right("Horner at a multiple root's neighbourhood", fn(horner, horner_d), X),
    Right("arctan2 wrapped", fn(cosine_of_angle, np.ones_like), np.array([0.5, 3.0, -2.0, 10.0])),
    Right("tails of erfc", fn(special.erfc, lambda x: -2 / np.sqrt(np.pi) * np.exp(-x * x)),
          np.array([0.0, 3.0, 6.0, 10.0])),
    Right("tangent beside its pole", fn(np.tan, lambda x: 1 + np.tan(x) ** 2), np.array([1.5707, 0.0, -1.57])),
    Right("log of 1e-300", fn(np.log, lambda x: 1 / x), np.array([1e-300, 1e-10, 1.0])),
    Right("eigenvalues", gv.function(eigenvalues, vjp=eigenvalues_vjp), X[:3, :3]),
    Right("singular values", gv.function(singular_values, vjp=singular_values_vjp), X),
    Right("gamma function", fn(special.gammaln, special.digamma), P),
    Right("bessel function", fn(special.j0, lambda x: -special.j1(x)), P),
    Right("logsumexp of large values", gv.function(logsumexp, gradient=lambda x: np.exp(x - logsumexp(x))), 1e3 * X[0]),
    Right("ten layers of tanh", gv.pair(deep, deep_back), (X, *(RNG.normal(size=(4, 4)) for _ in range(10))), NONE),
    Right("swish with a learned slope", gv.function(swish_beta, vjp=swish_beta_vjp), (X, np.array(1.3))),
    # sharing and shapes
    Right("one matrix used twice in a product", gv.pair(shared_twice, shared_twice_back), (X[:, :3], RNG.normal(size=(3, 3)))),
    Right("the same array for two inputs", gv.function(np.multiply, vjp=lambda a, b, u: (u * b, u * a)), (X, X)),
    Right("0-d", fn(np.sin, np.cos), np.array(0.3)),
    Right("one entry", fn(np.sin, np.cos), np.array([0.3])),
    Right("empty", fn(np.sin, np.cos), EMPTY),
    Right("one empty leaf of two", gv.pair(lambda x, y: (np.sin(x).sum() + y.sum(), (x, y)),
                                           lambda dy, c: (dy * np.cos(c[0]), np.full_like(c[1], dy))), (X, EMPTY)),
    Right("a batch of one", gv.pair(layernorm, layernorm_back), X[:1]),
    Right("a row of one", gv.pair(softmax, softmax_back), X[:, :1]),
    Right("six axes", fn(np.sin, np.cos), RNG.normal(size=(1, 2, 1, 2, 1, 2))),
    Right("a million entries", fn(np.tanh, lambda x: 1 - np.tanh(x) ** 2), MILLION, NONE),
    Right("200 leaves, each small", many, LEAVES, NONE),
    # low precision
    Right("float32 tanh", gv.pair(tanh, tanh_back), X.astype("float32")),
    Right("float32 softmax", gv.pair(softmax, softmax_back), X.astype("float32")),
    Right("float32 layernorm of the difficult points", gv.pair(layernorm, layernorm_back), X.astype("float32")),
    Right("float32 relu network", gv.pair(relu_net, relu_net_back), tuple(a.astype("float32") for a in NET)),
    Right("float32 values 1e-12",
          fn(lambda x: np.float32(1e-12) * np.sin(x), lambda x: np.float32(1e-12) * np.cos(x)), X.astype("float32")),
    Right("float32 in saturation", gv.pair(tanh, tanh_back), np.array([3.0, 6.0, 9.0], "float32"),
          may="1 - y^2 has no digits left"),
    Right("float16 tanh", gv.pair(tanh, tanh_back), X.astype("float16")),
    Right("float16 softmax", gv.pair(softmax, softmax_back), X.astype("float16")),
    Right("float16 layernorm", gv.pair(layernorm, layernorm_back), X.astype("float16"),
          may="its own rounding is large"),
    Right("longdouble", fn(np.sin, np.cos), X.astype(np.longdouble)),
    Right("smooth with small steps on top", fn(lambda x: np.sin(x) + np.round(x, 3), np.cos), X,
          may="between the steps only"),
    Right("exp of 700 beside -700", fn(np.exp, np.exp), np.array([700.0, -700.0, 0.0])),
    Right("float32 inside", fn(lambda x: np.sin(x.astype("float32")).astype("float64"), np.cos), X, NONE,
          may="its values carry seven digits"),
    # state that is right
    Right("batch normalisation in evaluation", EvalBatchNorm(), X),
    Right("batch normalisation in training", TrainBatchNorm(), X, QUICK),
]
