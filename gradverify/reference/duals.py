"""Arrays that carry a tangent: the forward mode, and over the pullbacks the second derivative.

A `Dual` is a pair (a, da). Every NumPy function that the layers use maps it to (f(a), f'(a) da), so any code
of this package runs on it unchanged. Two things follow:

    forward on duals            J v, the pushforward of a layer too long to push by hand (`push`)
    forward + pullback on duals the change of J^T u along v: with u = dL/dy the Hessian times v, exact to
                                rounding, for the price of about two gradients (`hessian_product`)

The second is *forward over reverse*. Because the pullbacks are written so that they keep their digits in
saturation, their derivatives do too. Sources: Pearlmutter, *Fast exact multiplication by the Hessian* (1994);
Griewank and Walther, *Evaluating Derivatives* (2008), section 3.1 and chapter 5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from gradverify.arrays import flatten
from gradverify.reference.elementary import decay, erf, erfc, expm1, log1p
from gradverify.reference.layer import Array, Layer, Loss, Params, shape_of

Rule = Callable[..., Array]


class Dual(np.lib.mixins.NDArrayOperatorsMixin):
    """``value + t tangent`` for infinitesimal t, behind the interface of an array.

    >>> x = Dual(np.array([1.0, 2.0]), np.array([1.0, 0.0]))
    >>> (x * x).tangent
    array([2., 0.])
    """

    __slots__ = ("tangent", "value")
    __array_priority__ = 2000
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, value: Array, tangent: Array) -> None:
        self.value = value
        alike = shape_of(tangent) == shape_of(value)
        self.tangent = tangent if alike else np.broadcast_to(tangent, shape_of(value))

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if method == "reduce" and ufunc is np.add:
            return np.sum(*inputs, **{"axis": 0, **kwargs})
        if method != "__call__" or kwargs or ufunc not in STEPS | RULES.keys():
            raise TypeError(f"numpy {ufunc.__name__}.{method} with {sorted(kwargs)}: no rule for duals")
        values = [value_of(operand) for operand in inputs]
        if ufunc in STEPS:
            return ufunc(*values)
        y = OWN_VALUES.get(ufunc, ufunc)(*values)
        pushed = [rule(operand.tangent, y, *values) for rule, operand in zip(RULES[ufunc], inputs, strict=True)
                  if isinstance(operand, Dual)]
        return Dual(y, sum(pushed[1:], start=pushed[0]))

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function in OWN:
            return OWN[function](*args, **kwargs)
        if function in PLAIN:
            return function(value_of(args[0]), *args[1:], **kwargs)
        if function not in LINEAR:
            raise TypeError(f"numpy.{function.__name__}: no rule for duals")
        first, rest = args[0], args[1:]
        return _paired(function(value_of(first), *rest, **kwargs), function(tangent_of(first), *rest, **kwargs))

    def __getitem__(self, index: Any) -> Dual:
        return Dual(self.value[index], self.tangent[index])

    def __setitem__(self, index: Any, new: Any) -> None:
        self.value[index], self.tangent[index] = value_of(new), tangent_of(new)

    def __iter__(self) -> Iterator[Dual]:
        return (self[i] for i in range(len(self)))

    def __len__(self) -> int:
        return shape_of(self.value)[0]

    def __bool__(self) -> bool:
        return bool(self.value)

    def __repr__(self) -> str:
        return f"Dual({self.value!r}, {self.tangent!r})"

    shape = property(lambda self: shape_of(self.value))
    ndim = property(lambda self: len(self.shape))
    size = property(lambda self: math.prod(self.shape))
    dtype = property(lambda self: self.value.dtype)
    T = property(np.transpose)


def value_of(tree: Any) -> Any:
    """The values without their tangents, of an array or a list of them."""
    if isinstance(tree, (list, tuple)):
        return type(tree)(value_of(item) for item in tree)
    return tree.value if isinstance(tree, Dual) else tree


def tangent_of(tree: Any) -> Any:
    """The tangents, zero for what has none."""
    if isinstance(tree, (list, tuple)):
        return type(tree)(tangent_of(item) for item in tree)
    return tree.tangent if isinstance(tree, Dual) else np.zeros_like(tree)


def _paired(values: Any, tangents: Any) -> Any:
    if isinstance(values, (list, tuple)):
        return type(values)(map(_paired, values, tangents))
    return Dual(values, tangents)


def _slope_of_tanh(d: Array, y: Array, x: Array) -> Array:
    _, e = decay(x)
    return d * (2 * e / (1 + e * e)) ** 2


def _gauss(x: Array) -> Array:
    return 2 / math.sqrt(math.pi) * np.exp(-x * x)


# One entry for each operand: what its tangent d adds to the tangent of the result y.
RULES: dict[Any, tuple[Rule, ...]] = {
    np.add: (lambda d, y, a, b: d, lambda d, y, a, b: d),
    np.subtract: (lambda d, y, a, b: d, lambda d, y, a, b: -d),
    np.multiply: (lambda d, y, a, b: d * b, lambda d, y, a, b: a * d),
    np.divide: (lambda d, y, a, b: d / b, lambda d, y, a, b: -y * d / b),
    np.matmul: (lambda d, y, a, b: d @ b, lambda d, y, a, b: a @ d),
    np.maximum: (lambda d, y, a, b: np.where(a > b, d, 0), lambda d, y, a, b: np.where(a > b, 0, d)),
    np.minimum: (lambda d, y, a, b: np.where(a < b, d, 0), lambda d, y, a, b: np.where(a < b, 0, d)),
    np.power: (lambda d, y, a, p: d * (p * a ** (p - 1)), lambda d, y, a, p: d * (y * np.log(a))),
    np.negative: (lambda d, y, a: -d,),
    np.exp: (lambda d, y, a: d * y,),
    np.expm1: (lambda d, y, a: d * np.exp(a),),
    np.log: (lambda d, y, a: d / a,),
    np.log1p: (lambda d, y, a: d / (1 + a),),
    np.sqrt: (lambda d, y, a: d / (2 * y),),
    np.tanh: (_slope_of_tanh,),
    np.sin: (lambda d, y, a: d * np.cos(a),),
    np.cos: (lambda d, y, a: -d * np.sin(a),),
}
STEPS = {np.greater, np.greater_equal, np.less, np.less_equal, np.equal, np.not_equal, np.isfinite, np.isnan}
OWN_VALUES: dict[Any, Rule] = {np.log1p: log1p, np.expm1: expm1}
LINEAR = {
    np.sum, np.mean, np.cumsum, np.reshape, np.ravel, np.transpose, np.swapaxes, np.moveaxis, np.expand_dims,
    np.squeeze, np.concatenate, np.stack, np.split, np.take, np.take_along_axis, np.broadcast_to, np.flip,
    np.roll, np.repeat, np.zeros_like, np.lib.stride_tricks.sliding_window_view,
}
PLAIN = {np.shape, np.ndim, np.size, np.argmax, np.argmin, np.argsort, np.ones_like}


def _where(condition: Any, a: Any, b: Any) -> Dual:
    mask = value_of(condition)
    return Dual(np.where(mask, value_of(a), value_of(b)), np.where(mask, tangent_of(a), tangent_of(b)))


def _pad(a: Dual, pad_width: Any, **options: Any) -> Dual:
    return Dual(np.pad(a.value, pad_width, **options), np.pad(a.tangent, pad_width))


OWN: dict[Any, Callable[..., Any]] = {np.where: _where, np.pad: _pad}


def _learn_the_error_functions() -> None:
    from scipy import special

    RULES[special.erf] = (lambda d, y, a: d * _gauss(a),)
    RULES[special.erfc] = (lambda d, y, a: -d * _gauss(a),)
    OWN_VALUES.update({special.erf: erf, special.erfc: erfc})


def lifted(tree: Any, tangents: Any) -> Any:
    """The tree with duals for leaves; a tangent of None, or absent, leaves its array plain."""
    leaves, rebuild = flatten(tree, "t")
    steps, _ = flatten(tangents, "t")
    return rebuild({name: leaf if steps.get(name) is None else Dual(leaf, steps[name])
                    for name, leaf in leaves.items()})


def lowered(tree: Any) -> tuple[Any, Any]:
    """The tree of values and the tree of tangents; None where a leaf is None."""
    leaves, rebuild = flatten(tree, "t")
    tangents = {name: None if leaf is None else tangent_of(leaf) for name, leaf in leaves.items()}
    return rebuild({name: value_of(leaf) for name, leaf in leaves.items()}), rebuild(tangents)


def push(function: Callable[..., Any], point: tuple[Any, ...], tangent: tuple[Any, ...]) -> tuple[Any, Any]:
    """``f(point)`` and its derivative along `tangent`, for any function of trees written with NumPy.

    >>> y, dy = push(lambda x: np.sum(np.exp(x)), (np.zeros(2),), (np.array([1.0, 0.5]),))
    >>> float(y), float(dy)
    (2.0, 1.5)
    """
    _learn_the_error_functions()
    return lowered(function(*lifted(point, tangent)))


def push_forward(layer: Layer | Loss, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:
    """The pushforward of a layer or loss by running its forward on duals; in a class, its method.

    ``pushforward = push_forward`` is written by every layer whose forward mode has nothing to teach.
    """
    return push(lambda p, a: layer.forward(p, a)[0], (params, x), (dparams, dx))


def push_pullback(
    layer: Layer | Loss, params: Params, x: Array, u: Array, dparams: Params, dx: Array, du: Array = None
) -> tuple[Any, Any]:
    """``J^T u`` and how it changes along the tangent: two trees ``(of params, of x)``.

    >>> from gradverify.reference import Activation
    >>> _, (_, bent) = push_pullback(Activation("log_sigmoid"), {}, np.array([40.0]), np.ones(1), {}, np.ones(1))
    >>> bent                    # the second derivative -s (1 - s), which 1 - s would round to zero
    array([-4.24835426e-18])
    """
    return push(lambda p, a, b: layer.forward(p, a)[1](b), (params, x, u), (dparams, dx, du))


def hessian_product(objective: Layer, params: Params, x: Array, dparams: Params, dx: Array = None) -> Any:
    """H v of a scalar objective, as trees ``(of params, of x)``; dx = None holds the input fixed.

    >>> from gradverify.reference import MSE, Dense, Objective
    >>> line = Objective(Dense(1, 1, bias=False), MSE(), np.array([[4.0]]))
    >>> in_w, in_x = hessian_product(line, {"W": np.array([[0.5]])}, np.array([[2.0]]), {"W": np.array([[1.0]])})
    >>> float(in_w["W"][0, 0]), float(in_x[0, 0])          # d2L/dw2 = 2 x^2,  d2L/dx dw = 4 w x - 2 y_true
    (8.0, -4.0)
    """
    return push_pullback(objective, params, x, 1.0, dparams, dx)[1]
