"""Layers wired into a static graph when they are made: ``Relu(input_variable, name)``, ``forward()``, ``backward()``.

Such a layer reads its inputs from the nodes that it was given, leaves its output in a node of its own, and gradients in
all of them. It is wrapped so that arrays go in and out; every call makes nodes and layer anew, so that nothing of the
call before is left. Runs in a worker only.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, product
from types import MethodType, ModuleType
from typing import Any, Protocol

import numpy as np

from gradverify.arrays import is_floating
from gradverify.audit.boxed import bound
from gradverify.audit.guesses import is_named_setting
from gradverify.audit.holding import NoGradient
from gradverify.audit.inputs import Arguments
from gradverify.audit.load import NotTriable
from gradverify.audit.mined import words_for
from gradverify.audit.nodes import Kind, has_type, kinds_in, setting_of, settings_of
from gradverify.audit.readings import Reading, Trial
from gradverify.audit.record import Candidate
from gradverify.audit.roles import is_label
from gradverify.audit.search import silence
from gradverify.audit.settingup import set_up_alone
from gradverify.audit.shapes import Sized
from gradverify.audit.signatures import of_names
from gradverify.audit.wires import Graph, graph_of
from gradverify.targets import layer
from gradverify.targets.calling import random_state, set_random_state
from gradverify.targets.methods import required_arguments

_PROBES = ((5, 3), (2, 4, 4, 2), (3,))  # at which a layer is made, to see whether it takes a kind of nodes at all
_MOST = 6


class Ran(Protocol):
    """A layer that has run forward."""

    @property
    def y(self) -> Any:
        """Its output."""

    def parameters(self) -> dict[str, Any]:
        """The values of its parameters."""

    def pull(self, backward: str, u: np.ndarray) -> tuple[list[Any], dict[str, Any]]:
        """The gradients of inputs and parameters; None where there is no place for one."""

    def arrivals(self, backward: str) -> tuple[list[bool], dict[str, bool]]:
        """Whether a backward gives each input and parameter a gradient."""


class Wrapped(Protocol):
    """What arrays go into: makes objects that hold them, and runs a layer on those."""

    @property
    def name(self) -> str:
        """What the layer is called."""

    @property
    def arrays(self) -> tuple[str, ...]:
        """The names of its inputs."""

    @property
    def methods(self) -> tuple[str, str]:
        """Forward and backward."""

    def run(self, arrays: Sequence[Any], params: Mapping[str, Any]) -> Ran:
        """The layer after a forward."""


@dataclass(frozen=True)
class Wiring:
    """How a layer is made: which of its arguments are nodes, of which kind, and what the others are."""

    cls: type
    kind: Kind
    nodes: tuple[str, ...]
    arrays: tuple[str, ...]  # the nodes by name, those too that are given in one list, or behind a star
    manner: str  # "each", "list" or "star"
    settings: Mapping[str, Any]
    methods: tuple[str, str]

    @property
    def name(self) -> str:
        """What the layer is called."""
        return self.cls.__name__

    def made(self, arrays: Sequence[Any]) -> tuple[list[tuple[Any, Any]], Any]:
        """Nodes that hold the arrays, and a layer on top of them."""
        nodes = [self.kind.make(x) for x in arrays]
        given = [node for node, _ in nodes]
        named = {self.nodes[0]: given} if self.manner == "list" else dict(zip(self.nodes, given, strict=False))
        fixed = {n: setting_of(p) if _is_name(p) else self.settings[n] for n, p in _fixed(self.cls, self.nodes).items()}
        made = self.cls(*given, **fixed) if self.manner == "star" else self.cls(**named, **fixed)
        set_up_alone(made)
        return nodes, made

    def run(self, arrays: Sequence[Any], params: Mapping[str, Any]) -> Graph:
        """The graph after a forward."""
        nodes, made = self.made(arrays)
        return graph_of(made, nodes, self.kind, self.methods[0], params)


def is_wired(cls: type, forward: str, backward: str) -> bool:
    """Whether neither way takes anything, and the constructor does."""
    ways = [getattr(cls, forward, None), getattr(cls, backward, None)]
    alone = [inspect.isfunction(way) and not required_arguments(way)[1:] for way in ways]
    return all(alone) and bool(_given(cls))


def wired_or(candidate: Candidate, cls: type, module: ModuleType, others: Iterator[Trial]) -> Iterator[Trial]:
    """The trials of a layer of a static graph, one for each way of making it that works; then `others`."""
    types = tuple(p.default for p in _given(cls) if has_type(p))
    methods = (candidate.forward, candidate.backward)
    found = (wiring for kind in kinds_in(module, cls, types) for wiring in _wirings(cls, kind, methods))
    wirings = list(islice(filter(_takes, found), _MOST))
    yield from (trial_of(wiring, _IMAGES) for wiring in wirings)
    try:
        yield from others
    except NotTriable:  # without nodes it cannot be made
        if not wirings:
            raise


def _given(cls: type) -> list[inspect.Parameter]:
    """What a constructor must be given: without a default, or one that is a type, or, if all have one, that is None."""
    try:
        parameters = list(inspect.signature(cls).parameters.values())
    except (TypeError, ValueError):
        return []
    star = [p for p in parameters if p.kind is p.VAR_POSITIONAL]
    named = [*star, *(p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY))]
    needed = [p for p in named if p.default is p.empty or has_type(p)]
    return needed or [p for p in named if p.default is None or p.default in ([], ())]


def _fixed(cls: type, nodes: Sequence[str]) -> dict[str, inspect.Parameter]:
    return {p.name: p for p in _given(cls) if p.name not in nodes}


def _is_name(parameter: inspect.Parameter) -> bool:
    return parameter.default is str or parameter.name in ("name", "scope")


def _is_setting(parameter: inspect.Parameter) -> bool:
    plain = has_type(parameter) and parameter.default.__module__ == "builtins"
    return plain or _is_name(parameter) or is_named_setting(parameter.name)


def _wirings(cls: type, kind: Kind, methods: tuple[str, str]) -> Iterator[Wiring]:
    """Ways of making a layer of nodes of a kind, likeliest first."""
    given = _given(cls)
    open_ = [p for p in given if not _is_setting(p) and not words_for(cls, p.name)]
    nodes = tuple(p.name for p in open_ if has_type(p)) or tuple(p.name for p in open_)
    if not nodes:
        return
    fixed = _fixed(cls, nodes)
    choices = [[*words_for(cls, n)[:2], *settings_of(p)][:4] for n, p in fixed.items()]
    for values in islice(product(*choices), _MOST):
        wiring = Wiring(cls, kind, nodes, nodes, "each", dict(zip(fixed, values, strict=True)), methods)
        manner = "star" if any(p.kind is p.VAR_POSITIONAL for p in given) else "list"
        if manner == "list":
            yield wiring
        if len(nodes) == 1:
            several = (("x", "x_2"), ("x",), ("x", "w", "b"))
            yield from (replace(wiring, arrays=names, manner=manner) for names in several)


def _takes(wiring: Wiring) -> bool:
    """Whether a layer can be made of such nodes, whatever its forward then does."""
    return any(_is_made(wiring, shape) for shape in _PROBES)


def _is_made(wiring: Wiring, shape: tuple[int, ...]) -> bool:
    try:
        with silence():
            wiring.made([np.ones(shape) for _ in wiring.arrays])
    except Exception:
        return False
    return True


class Wired:
    """A wired layer with arrays in place of its nodes; its parameters are attributes of this."""

    def __init__(self, wiring: Wrapped, signature: inspect.Signature, params: Mapping[str, str], mode: str) -> None:
        self._wiring, self._signature, self._params, self._mode = wiring, signature, dict(params), mode
        self._called: tuple[Any, ...] = ()
        self._gradients: list[Any] = []
        self.forward = bound(self, Wired._forward, signature)
        self.backward = MethodType(Wired._backward, self)

    def __reduce__(self) -> tuple[Any, ...]:
        given = (self._wiring, self._signature, self._params, self._mode)
        own = {n: v for n, v in vars(self).items() if n not in ("forward", "backward")}
        return Wired, given, own

    def _forward(self, *arrays: Any) -> Any:
        self._called = (arrays, random_state())
        return self._wiring.run([_copied(x) for x in arrays], self._values()).y

    def _values(self) -> dict[str, Any]:
        return {path: _copied(getattr(self, name)) for name, path in self._params.items()}

    def _backward(self, u: Any) -> Any:
        arrays, drawn = self._called
        now = random_state()
        set_random_state(now, drawn)
        graph = self._wiring.run([_copied(x) for x in arrays], self._values())
        sent = np.ones_like(graph.y) if self._mode == "one" else np.array(u)
        of_inputs, of_params = graph.pull(self._wiring.methods[1], sent)
        scale = partial(_scaled, u=u) if self._mode == "one" else _as_it_is
        self._gradients = [scale(of_params.get(path)) for path in self._params.values()]
        found = [scale(g) for g in of_inputs]
        return found[0] if len(found) == 1 else tuple(found)


def _copied(x: Any) -> Any:
    return x.copy() if hasattr(x, "copy") else x


def _as_it_is(g: Any) -> Any:
    return g


def _scaled(g: Any, u: Any) -> Any:
    return None if g is None else np.asarray(g) * np.reshape(u, ())


def trial_of(wiring: Wrapped, stated: Sequence[tuple[int, ...]]) -> Trial:
    """The trial of a layer with arrays in place of its objects; `stated` are shapes to begin with."""
    names = [_plain(n) for n in wiring.arrays]
    names = names if len(set(names)) == len(names) else list(wiring.arrays)
    signature = of_names(*names)

    def forward(*arrays: Any) -> Any:
        return wiring.run([_copied(x) for x in arrays], {}).y

    forward.__signature__ = signature  # type: ignore[attr-defined]
    forward.__name__ = forward.__qualname__ = wiring.name
    readings = tuple(
        Reading(partial(_build, wiring, signature, mode), suffix, lambda spec, _: spec.obj.claimed)
        for mode, suffix in (("given", ""), ("one", ", which takes the upstream gradient to be one"))
    )
    return Trial(forward, (), readings, lambda arguments: forward(*arguments.inputs), stated=tuple(stated))


_IMAGES = tuple(Sized(shape) for shape in ((2, 6, 4, 2), (2, 4, 4, 2), (2, 2, 4, 4)))  # square where sides are mixed up


def _plain(name: str) -> str:
    """``labels`` for ``labels_layer``: what a node is called beside that it is one."""
    bare = _A_NODE.sub("", name)
    return bare if is_label(bare) else name


_A_NODE = re.compile(r"_?(layer|node|variable|var|tensor|blob|input)\d?$", re.IGNORECASE)


def _is_deaf(wiring: Wrapped, arguments: Arguments) -> bool:
    """Whether a backward sends the same whatever upstream gradient its output has."""
    now = random_state()
    found = []
    for u in (1.0, 2.0):
        set_random_state(random_state(), now)
        graph = wiring.run([_copied(x) for x in arguments.inputs], {})
        of_inputs, of_params = graph.pull(wiring.methods[1], np.full(np.shape(graph.y), u))
        found.append([None if g is None else np.array(g) for g in (*of_inputs, *of_params.values())])
    return all(np.array_equal(a, b) for a, b in zip(*found, strict=True) if a is not None)


def _build(wiring: Wrapped, signature: inspect.Signature, mode: str, arguments: Arguments) -> Any:
    """The wrapped layer at these arguments; raises `NoGradient` where nothing arrives at an input or parameter."""
    with silence():
        graph = wiring.run([_copied(x) for x in arguments.inputs], {})
        values = {path: np.array(v) for path, v in graph.parameters().items()}
        of_inputs, of_params = graph.arrivals(wiring.methods[1])
    if (mode == "one") != (np.size(graph.y) == 1 and _is_deaf(wiring, arguments)):
        raise NoGradient("its output is no scalar, or its backward hears the upstream gradient of one")
    params = {re.sub(r"\W+", "_", path).strip("_"): path for path, came in of_params.items() if came}
    given = zip(signature.parameters, arguments.inputs, of_inputs, strict=True)
    arrived = [n for n, x, came in given if came and is_floating(x)]
    if not params and not arrived:
        raise NoGradient(f"{wiring.methods[1]} leaves nothing that could be a gradient")
    wired = Wired(wiring, signature, params, mode)
    for name, path in params.items():
        setattr(wired, name, values[path])
    wired.claimed = (*arrived, *params)  # type: ignore[attr-defined]
    grads = tuple(f"_gradients[{i}]" for i in range(len(params)))
    return layer(wired, params=tuple(params), grads=grads, forward="forward", backward="backward")
