"""How a user's NumPy code is called: named leaves in, named outputs out, nothing left behind."""

from __future__ import annotations

import contextlib
import inspect
import io
import random
import sys
import sysconfig
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np

from gradverify.arrays import EPS, Arrays, Rebuild, dtype_name, flatten, is_floating, to_float64


@dataclass(frozen=True)
class Call:
    """The arguments of a function as leaves: `point` the floating ones, `build` the way back."""

    names: tuple[str, ...]
    point: Arrays
    everything: Arrays
    rebuild: Rebuild
    scalars: frozenset[str]

    @property
    def dtype(self) -> str:
        """The coarsest dtype among the leaves."""
        return max((dtype_name(leaf) for leaf in self.point.values()), key=EPS.__getitem__, default="float64")

    def arguments(self, point: Mapping[str, Any], *, fresh: bool = False) -> list[Any]:
        """The positional arguments at another point: copies in each leaf's own dtype, unless `fresh` ones come in."""
        leaves = {name: _fresh(value) for name, value in self.everything.items() if name not in self.point}
        for name, own in self.point.items():
            leaves[name] = point[name] if fresh else as_leaf(point[name], own.dtype)
            if name in self.scalars and isinstance(leaves[name], np.ndarray):
                leaves[name] = leaves[name][()]
        return list(self.rebuild(leaves))

    def cast(self, dtype: str) -> Call:
        """The same call with every floating leaf in another dtype."""
        new = {name: leaf.astype(np.dtype(dtype)) for name, leaf in self.point.items()}
        return replace(self, point=new)


def make_call(function: Callable[..., Any], inputs: tuple[Any, ...]) -> Call:
    """Name the inputs after the function's parameters and find their floating leaves."""
    names = argument_names(function, len(inputs))
    parts = [flatten(value, name) for value, name in zip(inputs, names, strict=True)]
    everything = {name: leaf for leaves, _ in parts for name, leaf in leaves.items()}
    point = {name: np.array(leaf, order="K") for name, leaf in everything.items() if is_floating(leaf)}
    scalars = frozenset(n for n in point if not isinstance(everything[n], np.ndarray))
    return Call(names, point, everything, lambda leaves: [build(leaves) for _, build in parts], scalars)


def argument_names(function: Callable[..., Any], count: int) -> tuple[str, ...]:
    """The names of the first `count` positional parameters; ``args[i]`` where there is no name."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    named = [p.name for p in parameters if p.kind in positional]
    star = next((p.name for p in parameters if p.kind is inspect.Parameter.VAR_POSITIONAL), "args")
    rest = [f"{star}[{i}]" for i in range(count - len(named))]
    return tuple((named + rest)[:count]) if count > 1 or named else ("x",)[:count]


def as_leaf(value: Any, dtype: Any) -> Any:
    """A fresh array in the leaf's dtype; arrays of another arithmetic pass as they are."""
    if isinstance(value, (np.ndarray, np.generic, float, int)):
        return np.array(value, dtype=dtype, order="K")
    return value


def stepped(point: Mapping[str, Any], v: Mapping[str, Any], t: float, own: Mapping[str, Any]) -> Arrays:
    """``x + t v``, every leaf a fresh array in the dtype of `own`, nothing copied twice on the way."""
    return {n: _step(point[n], v[n], t, x.dtype) if n in v else as_leaf(point[n], x.dtype) for n, x in own.items()}


def _step(x: Any, dx: Any, t: float, dtype: Any) -> np.ndarray:
    moved = np.asarray(np.multiply(dx, t, dtype=np.float64))
    np.add(to_float64(x), moved, out=moved)
    return moved.astype(dtype, copy=False)


def _fresh(value: Any) -> Any:
    return value.copy(order="K") if isinstance(value, np.ndarray) else value


def named_outputs(result: Any, *, root: str = "out") -> Arrays:
    """The floating outputs by path; raises TypeError for a result that is no array at all."""
    leaves, _ = flatten(result, root)
    floating = {name: leaf for name, leaf in leaves.items() if _is_output(leaf)}
    if floating:
        return floating
    kinds = ", ".join(f"{name}: {_kind(leaf)}" for name, leaf in leaves.items()) or "nothing"
    raise TypeError(f"nothing to check: the forward returned no floating array ({kinds})")


def _is_output(leaf: Any) -> bool:
    foreign = hasattr(leaf, "__array_ufunc__") and not isinstance(leaf, (np.ndarray, np.generic))
    return foreign or is_floating(leaf)


def _kind(leaf: Any) -> str:
    return f"{leaf.dtype} array" if hasattr(leaf, "dtype") else type(leaf).__name__


def overwritten(
    function: Callable[..., Any],
    call: Call,
    point: Mapping[str, Any],
    calm: Replay,
    kwargs: Mapping[str, Any],
) -> list[tuple[str, Any, Any]]:
    """The inputs that one call changes in place: (leaf, before, after)."""
    arguments = call.arguments(point)
    with calm():
        function(*arguments, **kwargs)
    after = {
        n: x for value, name in zip(arguments, call.names, strict=True) for n, x in flatten(value, name)[0].items()
    }
    pairs = [(name, np.asarray(point[name]), np.asarray(after[name])) for name in call.point]
    return [(n, old, new) for n, old, new in pairs if not np.array_equal(old.astype(new.dtype), new, equal_nan=True)]


State = tuple[Any, ...]


@dataclass(frozen=True)
class Replay:
    """Runs user code again and again from the same random state, and puts the caller's back.

    `held` are the generators of modules beside the global ones, as ``rng = np.random.default_rng()`` leaves them.
    """

    start: State
    held: tuple[Any, ...] = ()

    @contextlib.contextmanager
    def __call__(self, start: State | None = None) -> Iterator[list[State]]:
        """Restore a state inside (the recorded one, or `start`) and the caller's own afterwards.

        What is yielded holds the state that the code left behind once it has run: a backward goes
        on from where its forward stopped, so that a second draw is a second draw.
        """
        outer, left = random_state(self.held), list[State]()
        set_random_state(outer, start or self.start, self.held)
        try:
            yield left
        finally:
            left.append(random_state(self.held))
            set_random_state(left[0], outer, self.held)


def random_state(held: tuple[Any, ...] = ()) -> State:
    """The state of NumPy's and Python's global generators, and of those `held`."""
    return np.random.get_state(), random.getstate(), *map(_state_of, held)  # noqa: NPY002 - user code uses it


def set_random_state(old: State, new: State, held: tuple[Any, ...] = ()) -> None:
    """Put the state `new` in the place of `old`, which is the one of now."""
    # Setting costs ten times what comparing does, and hardly any target draws at all.
    if old[0][2] != new[0][2] or not np.array_equal(old[0][1], new[0][1]):
        np.random.set_state(new[0])  # noqa: NPY002
    if old[1] != new[1]:
        random.setstate(new[1])
    for generator, state in zip(held, new[2:], strict=False):
        if isinstance(generator, np.random.RandomState):
            generator.set_state(state)
        else:
            generator.bit_generator.state = state


def _state_of(generator: Any) -> Any:
    older = isinstance(generator, np.random.RandomState)
    return generator.get_state(legacy=False) if older else generator.bit_generator.state


def generators_of_modules() -> tuple[Any, ...]:
    """The generators that modules hold as globals, or in their classes; not those of installed packages and of ours."""
    found: dict[int, Any] = {}
    for module in _local_modules():
        values = list(vars(module).values())
        classes = [c for c in values if isinstance(c, type) and c.__module__ == module.__name__]
        values += [v for c in classes for v in vars(c).values()]
        found |= {id(v): v for v in values if isinstance(v, (np.random.Generator, np.random.RandomState))}
    return tuple(found.values())


_LOCAL: dict[tuple[int, int], list[ModuleType]] = {}  # of the modules there are, by their number and the last of them


def _local_modules() -> list[ModuleType]:
    key = len(sys.modules), id(next(reversed(sys.modules.values())))
    if key not in _LOCAL:
        _LOCAL.clear()
        _LOCAL[key] = [m for m in list(sys.modules.values()) if _is_local(m)]
    return _LOCAL[key]


def _is_local(module: Any) -> bool:
    name, file = getattr(module, "__name__", ""), getattr(module, "__file__", None) or ""
    return isinstance(module, ModuleType) and not (name.startswith("gradverify.") or file.startswith(_INSTALLED))


_INSTALLED = tuple({path for path in map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib")) if path})


def seeded(seed: int) -> Replay:
    """A `Replay` that starts from the same state in every process."""
    return Replay((np.random.RandomState(seed).get_state(), random.Random(seed).getstate()))


def replay() -> Replay:
    """A `Replay` that starts every call from the random state of now."""
    held = generators_of_modules()
    return Replay(random_state(held), held)


@contextlib.contextmanager
def quiet() -> Iterator[io.StringIO]:
    """Keep what the target prints and warns about, hundreds of times over, off the user's screen."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield printed


def substituted(
    other: Callable[..., Any],
    call: Call,
    calm: Replay,
    kwargs: Mapping[str, Any],
    params: tuple[str, ...] = (),
) -> Callable[[Arrays], Arrays]:
    """Another function of the same inputs; parameters go to it by name where it takes them."""
    accepted = set(inspect.signature(other).parameters)
    named = {path.rsplit(".", maxsplit=1)[-1]: path for path in params}
    keywords = {key: value for key, value in kwargs.items() if key in accepted}

    def forward(point: Arrays) -> Arrays:
        extra = {name: point[path] for name, path in named.items() if name in accepted}
        with calm():
            return named_outputs(other(*call.arguments(point), **extra, **keywords))

    return forward
