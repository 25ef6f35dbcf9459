"""What a slip in a backward may have been: every expression with what may have been meant, the likeliest first.

The kinds are those that code review finds: a sign, a number, an operator, operands or axes swapped, a part too
many, one name for another; then what was forgotten: a factor, a power, a function, a term, from the code around it.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gradverify.repairs.sources import Edit, Function, variables

_LONGEST = 48  # characters of an expression that may have been forgotten
_POOL = 32  # of them
_SILENT = (ast.Raise, ast.Assert, ast.JoinedStr, ast.arguments)
_NO_PLACES = {"annotation", "returns", "decorator_list", "func", "format_spec", "targets", "target"}
_GROWING = {"append", "extend", "insert"}
_USUAL_CALLS = ("exp", "log", "sqrt", "sin", "cos", "tanh", "abs", "sign")  # of NumPy, where the code calls it
_ALLOCATING = {"range", "zeros", "ones", "empty", "full", "eye", "identity", "arange", "linspace", "repeat", "tile",
               "pad", "reshape", "broadcast_to", "one_hot", "len"}
_SIBLINGS = {"sum": ("mean", "max"), "mean": ("sum",), "max": ("min",), "min": ("max",), "maximum": ("minimum",),
               "minimum": ("maximum",), "argmax": ("argmin",), "argmin": ("argmax",), "zeros_like": ("ones_like",),
               "ones_like": ("zeros_like",), "std": ("var",), "var": ("std",), "sin": ("cos",), "cos": ("sin",)}
_REDUCING = ("sum", "mean")
_SELVES = ("self", "s", "this", "ctx", "cls")
_OPPOSITES: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Gt: (ast.Lt, ast.GtE), ast.Lt: (ast.Gt, ast.LtE), ast.GtE: (ast.LtE, ast.Gt), ast.LtE: (ast.GtE, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,),
}  # fmt: skip

Forgotten: TypeAlias = Callable[[ast.expr], Iterator[ast.expr]]


@dataclass(frozen=True)
class Place:
    """Where an expression or a statement stands in the tree."""

    parent: ast.AST
    field: str
    index: int | None = None
    decides: bool = False  # within a condition: another one may hide what is wrong in a branch
    counts: bool = False  # within a call that allocates or repeats as often as it is told

    @property
    def node(self) -> ast.AST:
        """What stands there."""
        value = getattr(self.parent, self.field)
        found: ast.AST = value if self.index is None else value[self.index]
        return found

    def edit(self, new: ast.AST | None) -> Edit:
        """The same place with something else in it."""
        old = self.node
        if new is not None:
            ast.copy_location(new, old)
        return Edit(self.parent, self.field, self.index, old, new)


def edits(function: Function, others: Sequence[ast.AST] = ()) -> Iterator[Edit]:
    """Every edit of a function; what was forgotten in it may stand in `others`, the rest of the code.

    None of them gives a name to an array that had none before: what is written to in place is what was.
    """
    return (edit for edit in _all_edits(function, others) if not _is_alias(edit))


def _is_alias(edit: Edit) -> bool:
    value = edit.new.value if isinstance(edit.new, ast.Assign) else edit.new
    named = isinstance(edit.new, ast.Assign) or (isinstance(edit.parent, ast.Assign) and edit.field == "value")
    return named and isinstance(value, (ast.Name, ast.Attribute, ast.Subscript, ast.IfExp))


def _all_edits(function: Function, others: Sequence[ast.AST]) -> Iterator[Edit]:
    places = sorted(_places(function), key=lambda p: p.decides)
    expressions = [(p, p.node) for p in places if isinstance(p.node, ast.expr)]
    for place in places:
        yield from (place.edit(new) for new in _exchanged(place.node))
    code = [function, *others]
    names, attributes, numbers = _names(function), _attributes(code), _numbers(code)
    for place, node in expressions:
        if isinstance(node, ast.Name) and node.id in names:
            yield from (place.edit(ast.Name(n, ast.Load())) for n in names if n != node.id)
        elif isinstance(node, ast.Attribute) and _of_self(node):
            yield from (place.edit(ast.Attribute(node.value, n, ast.Load())) for n in attributes if n != node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, float):
            yield from (place.edit(_number(c)) for c in numbers if c != node.value)
    counting = _counting(function)
    wrapped = [(p, node) for p, node in expressions if _may_lack(p) and not _counts(node, counting)]
    pool = [*_pool(function, others), *map(_number, numbers)]
    usual = [term for name in names for term in _usual(name)]
    calls = _calls(code)
    for forgotten in (_powers, _functions(calls), _factors(pool), _factors(usual), _reduced, _terms(pool)):
        for place, node in wrapped:
            yield from (place.edit(new) for new in forgotten(node))


def _places(function: Function) -> Iterator[Place]:
    if isinstance(function, ast.Lambda):
        yield from _inside(Place(function, "body"))
        return
    for k in range(len(function.body)):
        yield from _inside(Place(function, "body", k))


def _inside(place: Place) -> Iterator[Place]:
    node = place.node
    if isinstance(node, _SILENT):
        return
    yield place
    decides, counts = place.decides or isinstance(node, ast.Compare), place.counts or _allocates(node)
    for parent, field, index in _children(node):
        yield from _inside(Place(parent, field, index, decides, counts))


def _children(node: ast.AST) -> Iterator[tuple[ast.AST, str, int | None]]:
    for field, value in ast.iter_fields(node):
        if field == "func" and isinstance(value, ast.Attribute) and value.attr not in _GROWING:
            yield value, "value", None  # the array whose method is called
        elif field not in _NO_PLACES and isinstance(value, list):
            yield from ((node, field, k) for k, child in enumerate(value) if isinstance(child, ast.AST))
        elif field not in _NO_PLACES and isinstance(value, ast.AST):
            yield node, field, None


def _allocates(node: ast.AST) -> bool:
    func = node.func if isinstance(node, ast.Call) else None
    return (func.attr if isinstance(func, ast.Attribute) else getattr(func, "id", "")) in _ALLOCATING


def _of_self(node: ast.Attribute) -> bool:
    return isinstance(node.value, ast.Name) and node.value.id in _SELVES


def _exchanged(node: ast.AST) -> Iterator[ast.AST | None]:
    for kind, make in _EXCHANGES:
        if isinstance(node, kind):
            yield from make(node)


def _binary(node: ast.BinOp) -> Iterator[ast.expr]:
    left, right, op = node.left, node.right, node.op
    if isinstance(op, (ast.Add, ast.Sub)):
        yield ast.BinOp(left, ast.Sub() if isinstance(op, ast.Add) else ast.Add(), right)
        yield left
        yield right if isinstance(op, ast.Add) else _negative(right)
    elif isinstance(op, (ast.Mult, ast.Div)):
        yield left
        yield from [right] if isinstance(op, ast.Mult) else [ast.BinOp(right, ast.Div(), left)]
        yield ast.BinOp(left, ast.Div() if isinstance(op, ast.Mult) else ast.Mult(), right)
        yield ast.BinOp(left, ast.MatMult(), right)
    elif isinstance(op, ast.Pow):
        yield left
    elif isinstance(op, ast.MatMult):
        yield from (ast.BinOp(a, op, b) for a, b in ((right, left), (_turned(left), right), (left, _turned(right)),
                                                     (_turned(right), left), (right, _turned(left))))  # fmt: skip
        yield ast.BinOp(left, ast.Mult(), right)
    elif isinstance(op, (ast.BitAnd, ast.BitOr)):
        yield left
        yield right


def _turned(node: ast.expr) -> ast.expr:
    return node.value if isinstance(node, ast.Attribute) and node.attr == "T" else ast.Attribute(node, "T", ast.Load())


def _negative(node: ast.expr) -> ast.expr:
    negated = isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub)
    return node.operand if isinstance(node, ast.UnaryOp) and negated else ast.UnaryOp(ast.USub(), node)


def _unary(node: ast.UnaryOp) -> Iterator[ast.expr]:
    yield node.operand
    if isinstance(node.op, ast.USub) and isinstance(node.operand, ast.Constant):
        yield from (ast.Constant(n) for n in (0, 1, 2, 3) if n != node.operand.value)


def _constant(node: ast.Constant) -> Iterator[ast.expr]:
    value = node.value
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int):
        near = dict.fromkeys((value + 1, value - 1, -value, 2 * value, 0, 1, 2, 3))
        yield from (_number(n) for n in near if n != value)
        yield from [ast.Constant(value / 2)]
    elif isinstance(value, float):
        other = (1 - value, 2 * value, value / 2, -value, 1 / value if value else 0.0, 0.0, 1.0, 2.0, 0.5)
        yield from (_number(c) for c in dict.fromkeys(other) if c != value)


def _number(value: float) -> ast.expr:
    return ast.Constant(value) if value >= 0 else ast.UnaryOp(ast.USub(), ast.Constant(-value))


def _call(node: ast.Call) -> Iterator[ast.expr]:
    func, args = node.func, node.args
    if not isinstance(func, ast.Attribute):
        return
    for other in _SIBLINGS.get(func.attr, ()):
        yield ast.Call(ast.Attribute(func.value, other, ast.Load()), args, node.keywords)
    if func.attr == "where" and len(args) == 3:
        yield from (ast.Call(func, [args[0], args[2], args[1]], []), args[1], args[2])
    elif args and not any(isinstance(a, ast.Starred) for a in args):
        yield args[0]  # a function too many
    elif not args:
        yield func.value
    if func.attr in _REDUCING and not node.keywords:
        yield from (_along(node, axis) for axis in (0, 1, -1))


def _along(node: ast.Call, axis: int) -> ast.expr:
    keywords = [ast.keyword("axis", _number(axis)), ast.keyword("keepdims", ast.Constant(True))]
    return ast.Call(node.func, node.args, keywords)


def _attribute(node: ast.Attribute) -> Iterator[ast.expr]:
    if node.attr == "T":
        yield node.value


def _compare(node: ast.Compare) -> Iterator[ast.expr]:
    for other in _OPPOSITES.get(type(node.ops[0]), ()) if len(node.ops) == 1 else ():
        yield ast.Compare(node.left, [other()], node.comparators)


def _conditional(node: ast.IfExp) -> Iterator[ast.expr]:
    yield from (node.body, node.orelse, ast.IfExp(node.test, node.orelse, node.body))


def _tuple(node: ast.Tuple) -> Iterator[ast.expr]:
    if not isinstance(node.ctx, ast.Load):
        return
    for k in range(len(node.elts) - 1):
        turned = [*node.elts[:k], node.elts[k + 1], node.elts[k], *node.elts[k + 2 :]]
        yield ast.Tuple(turned, ast.Load())


def _assignment(node: ast.Assign | ast.Return) -> Iterator[ast.stmt]:
    if node.value is not None and not isinstance(node.value, (ast.Tuple, ast.Dict, ast.Constant)):
        negated = _negative(node.value)
        yield ast.Return(negated) if isinstance(node, ast.Return) else ast.Assign(node.targets, negated)
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
        yield ast.AugAssign(node.targets[0], ast.Add(), node.value)


def _augmented(node: ast.AugAssign) -> Iterator[ast.stmt | None]:
    opposite: dict[type[ast.operator], type[ast.operator]] = {
        ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    }  # fmt: skip
    if type(node.op) in opposite:
        yield ast.AugAssign(node.target, opposite[type(node.op)](), node.value)
    yield None
    yield ast.Assign([node.target], node.value)


_EXCHANGES: tuple[tuple[type[ast.AST] | tuple[type[ast.AST], ...], Callable[..., Iterator[ast.AST | None]]], ...] = (
    (ast.BinOp, _binary), (ast.UnaryOp, _unary), (ast.Constant, _constant), (ast.Call, _call),
    (ast.Attribute, _attribute), (ast.Compare, _compare), (ast.IfExp, _conditional), (ast.Tuple, _tuple),
    ((ast.Assign, ast.Return), _assignment), (ast.AugAssign, _augmented),
)  # fmt: skip


def _may_lack(place: Place) -> bool:
    """Whether a factor or a term may be missing just here: not where the whole product or sum says the same."""
    node, parent = place.node, place.parent
    if isinstance(node, (ast.Constant, ast.Tuple, ast.List, ast.Dict, ast.Slice, ast.Starred, ast.Lambda, ast.Compare)):
        return False
    if isinstance(parent, ast.Subscript) and place.field == "slice":
        return False
    if place.counts:
        return False
    in_product = isinstance(parent, ast.BinOp) and isinstance(parent.op, (ast.Mult, ast.Div)) and place.field == "left"
    return not (in_product or isinstance(parent, ast.UnaryOp))


def _counting(function: Function) -> set[str]:
    """The variables that hold sizes and indices: a power of one is memory or time without end."""
    found: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and _counts(node.value, found):
            found |= {n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)}
        elif isinstance(node, (ast.For, ast.comprehension)) and _allocates(node.iter):
            found |= {n.id for n in ast.walk(node.target) if isinstance(n, ast.Name)}
    return found


def _counts(node: ast.expr, counting: set[str]) -> bool:
    """Whether an expression is made of sizes and indices alone."""
    if isinstance(node, ast.Attribute) and node.attr in ("shape", "size", "ndim"):
        return True
    if isinstance(node, ast.Name):
        return node.id in counting
    if isinstance(node, ast.Call):
        return getattr(node.func, "id", "") in ("len", "int", "range")
    if isinstance(node, (ast.Subscript, ast.Attribute)):
        return _counts(node.value, counting)
    if isinstance(node, ast.BinOp):
        sides = [_counts(side, counting) or isinstance(side, ast.Constant) for side in (node.left, node.right)]
        return all(sides) and not (isinstance(node.left, ast.Constant) and isinstance(node.right, ast.Constant))
    if isinstance(node, ast.Tuple):
        return all(_counts(part, counting) for part in node.elts)
    return isinstance(node, ast.Constant) and isinstance(node.value, int)


def _powers(node: ast.expr) -> Iterator[ast.expr]:
    yield from (ast.BinOp(node, ast.Pow(), ast.Constant(n)) for n in (2, 3, 0.5))


def _factors(pool: Sequence[ast.expr]) -> Forgotten:
    operators, parts = (ast.Mult, ast.Div), (*pool, ast.Constant(2))
    return lambda node: (ast.BinOp(node, operator(), part) for part in parts for operator in operators)


def _terms(pool: Sequence[ast.expr]) -> Forgotten:
    operators, parts = (ast.Add, ast.Sub), (*pool, ast.Constant(1))
    return lambda node: (ast.BinOp(node, operator(), part) for part in parts for operator in operators)


def _functions(calls: Sequence[ast.expr]) -> Forgotten:
    return lambda node: (ast.Call(call, [node], []) for call in calls)


def _reduced(node: ast.expr) -> Iterator[ast.expr]:
    for name in _REDUCING:
        call = ast.Call(ast.Attribute(node, name, ast.Load()), [], [])
        yield from (_along(call, axis) for axis in (0, 1, -1))


def _usual(name: str) -> Iterator[ast.expr]:
    """The derivatives of the usual activations by their values: ``1 - t**2``, ``s * (1 - s)``, the mask of a ReLU."""
    for text in (f"1 - {name}", f"1 - {name} ** 2", f"{name} * (1 - {name})", f"({name} > 0)"):
        yield ast.parse(text, mode="eval").body


def _names(function: Function) -> list[str]:
    """The function's own variables, without the object itself."""
    return [n for n in variables(function) if n not in (*_SELVES, "_")]


def _attributes(sources: Sequence[ast.AST]) -> list[str]:
    """The object's own attributes that the code reads or writes."""
    nodes = (n for source in sources for n in ast.walk(source) if isinstance(n, ast.Attribute))
    return list(dict.fromkeys(n.attr for n in nodes if _of_self(n)))


def _numbers(sources: Sequence[ast.AST]) -> list[float]:
    """The fractional numbers in the code: one of them may be what was meant."""
    constants = (n.value for source in sources for n in ast.walk(source) if isinstance(n, ast.Constant))
    return list(dict.fromkeys(abs(c) for c in constants if isinstance(c, float)))


def _pool(function: Function, others: Sequence[ast.AST]) -> list[ast.expr]:
    """Expressions that may have been forgotten, by their text: the function's own first, the short ones first."""
    known = {*_names(function), *_SELVES, "np", "numpy"}
    found: dict[str, ast.expr] = {name: ast.Name(name, ast.Load()) for name in _names(function)}
    for source in (function, *others):
        kinds = (ast.Attribute, ast.BinOp, ast.Call, ast.Subscript, ast.Name)
        more = [n for n in ast.walk(source) if isinstance(n, kinds)]
        texts = {ast.unparse(n): n for n in more if isinstance(getattr(n, "ctx", ast.Load()), ast.Load)}
        for text in sorted(texts, key=len):
            if len(text) <= _LONGEST and (source is function or _free(texts[text]) <= known):
                found.setdefault(text, copy.deepcopy(texts[text]))  # what holds the place would else hold itself
    return [n for n in found.values() if not (isinstance(n, ast.Name) and n.id in ("np", *_SELVES))][:_POOL]


def _free(node: ast.AST) -> set[str]:
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}


def _calls(sources: Sequence[ast.AST]) -> list[ast.expr]:
    """Functions of one argument that the code calls."""
    calls = (n for source in sources for n in ast.walk(source) if isinstance(n, ast.Call))
    single = {ast.unparse(c.func): copy.deepcopy(c.func) for c in calls if len(c.args) == 1 and not c.keywords}
    found = {text: func for text, func in single.items() if text.count(".") <= 1 and not text.startswith("super")}
    for name in ("np", "numpy", "torch", "jnp", "tf"):
        if any(text.startswith(f"{name}.") for text in found):
            usual = (ast.Attribute(ast.Name(name, ast.Load()), call, ast.Load()) for call in _USUAL_CALLS)
            found |= {ast.unparse(call): call for call in usual}
    return list(found.values())
