"""What may go wrong in one expression: each operator of the syntax tree with the slips people make there.

A slip is a label and the expression that would stand there instead. The labels are the kinds of bugs that
backpropagation has: a dropped term, a flipped sign, swapped axes, another reduction, a wrong index, a forgotten
factor, a wrong branch, an ignored upstream gradient.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import TypeAlias

Slip: TypeAlias = tuple[str, ast.expr]

UPSTREAM = {"dy", "d", "dL", "dz", "dh", "u"}
MOVES = {"swapaxes", "transpose", "moveaxis", "flip", "reshape", "expand_dims", "roll"}
ELEMENTWISE = {"exp", "sqrt", "log", "log1p", "expit", "erfc", "erf", "tanh", "bounded", "square", "cumsum", "cos",
               "sin"}
OTHER = {"sum": "mean", "mean": "sum", "maximum": "minimum", "minimum": "maximum", "argmax": "argmin", "max": "min"}
OPPOSITE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Gt: ast.Lt, ast.Lt: ast.Gt, ast.GtE: ast.LtE, ast.LtE: ast.GtE, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
}


def slips(node: ast.expr) -> Iterator[Slip]:
    """Every slip of this expression itself; those of its parts are theirs."""
    for kind, make in SLIPS:
        if isinstance(node, kind):
            yield from make(node)


def _binary(node: ast.BinOp) -> Iterator[Slip]:
    left, right = node.left, node.right
    if isinstance(node.op, (ast.Add, ast.Sub)):
        yield "drop a term", left
        yield "drop a term", right if isinstance(node.op, ast.Add) else negative(right)
        yield "flip a sign", ast.BinOp(left, ast.Sub() if isinstance(node.op, ast.Add) else ast.Add(), right)
    elif isinstance(node.op, (ast.Mult, ast.Div)):
        yield "forgotten factor", left
        if isinstance(node.op, ast.Mult):
            yield "forgotten factor", right
        else:
            yield "divided for multiplied", ast.BinOp(left, ast.Mult(), right)
    elif isinstance(node.op, ast.Pow):
        yield "forgotten power", left
        yield "wrong power", ast.BinOp(left, ast.Pow(), ast.BinOp(right, ast.Add(), ast.Constant(1)))
    elif isinstance(node.op, ast.MatMult):
        yield "swap operands", ast.BinOp(right, ast.MatMult(), left)
    elif isinstance(node.op, (ast.BitAnd, ast.BitOr)):
        yield "drop a condition", left
        yield "drop a condition", right


def negative(node: ast.expr) -> ast.expr:
    """The expression with a minus before it."""
    return ast.UnaryOp(ast.USub(), node)


def _unary(node: ast.UnaryOp) -> Iterator[Slip]:
    if isinstance(node.op, ast.USub):
        yield "flip a sign", node.operand
    elif isinstance(node.op, (ast.Invert, ast.Not)):
        yield "wrong branch", node.operand


def _call(node: ast.Call) -> Iterator[Slip]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    if name == "where" and len(node.args) == 3:
        condition, yes, no = node.args
        yield "wrong branch", ast.Call(node.func, [condition, no, yes], [])
        yield "mask forgotten", yes
        yield "mask forgotten", no
    if name in MOVES and node.args:
        yield "swap axes", node.args[0]
    if name in ELEMENTWISE and len(node.args) == 1:
        yield "forgotten function", node.args[0]
    if name in OTHER and isinstance(node.func, ast.Attribute):
        other = ast.Attribute(node.func.value, OTHER[name], ast.Load())
        yield "change a reduction", ast.Call(other, node.args, node.keywords)
    if node.args and {"_transposed", "fold", "patches"} & {name}:
        yield "swap axes", node.args[0]


def _attribute(node: ast.Attribute) -> Iterator[Slip]:
    if node.attr == "T":
        yield "swap axes", node.value


def _constant(node: ast.Constant) -> Iterator[Slip]:
    if isinstance(node.value, bool) or not isinstance(node.value, (int, float)):
        return
    yield "wrong constant or index", ast.Constant(node.value + 1)
    if isinstance(node.value, int) and node.value >= 0:
        yield "wrong constant or index", negative(ast.Constant(node.value + 1))
    if isinstance(node.value, float):
        yield "wrong constant or index", ast.Constant(node.value * 1.001)


def _compare(node: ast.Compare) -> Iterator[Slip]:
    opposite = OPPOSITE.get(type(node.ops[0]))
    if len(node.ops) == 1 and opposite is not None:
        yield "wrong branch", ast.Compare(node.left, [opposite()], node.comparators)


def _name(node: ast.Name) -> Iterator[Slip]:
    if node.id in UPSTREAM and isinstance(node.ctx, ast.Load):
        ones = ast.Attribute(ast.Name("np", ast.Load()), "ones_like", ast.Load())
        yield "upstream gradient ignored", ast.Call(ones, [node], [])


def _conditional(node: ast.IfExp) -> Iterator[Slip]:
    yield "wrong branch", node.body
    yield "wrong branch", node.orelse


def _lambda(node: ast.Lambda) -> Iterator[Slip]:
    """What a pullback returns: the sign of each part flipped, or twice as large."""
    for label, body in _results(node.body):
        yield label, ast.Lambda(node.args, body)


def _results(value: ast.expr) -> Iterator[Slip]:
    if isinstance(value, ast.Tuple):
        for k, part in enumerate(value.elts):
            if isinstance(part, ast.Dict):
                continue
            for label, new in _results(part):
                yield label, ast.Tuple([*value.elts[:k], new, *value.elts[k + 1 :]], ast.Load())
    elif not isinstance(value, (ast.Dict, ast.Constant, ast.Lambda)):
        yield "flip a sign", negative(value)
        yield "factor two", ast.BinOp(ast.Constant(2), ast.Mult(), value)


def _dictionary(node: ast.Dict) -> Iterator[Slip]:
    for k, value in enumerate(node.values):
        if isinstance(value, (ast.Constant, ast.Dict)):
            continue
        values = [*node.values[:k], negative(value), *node.values[k + 1 :]]
        yield "flip a sign", ast.Dict(node.keys, values)


SLIPS: tuple[tuple[type[ast.expr], Callable[..., Iterator[Slip]]], ...] = (
    (ast.BinOp, _binary), (ast.UnaryOp, _unary), (ast.Call, _call), (ast.Attribute, _attribute),
    (ast.Constant, _constant), (ast.Compare, _compare), (ast.Name, _name), (ast.IfExp, _conditional),
    (ast.Lambda, _lambda), (ast.Dict, _dictionary),
)
