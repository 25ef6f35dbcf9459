"""What the words of a command line stand for: objects of a module, and input arrays.

module:object         layers:Dense(3, 7)      path/to/layers.py:relu
name=dtype[shape]     x=float64[3,4]          standard normal; integers are 0 or 1
name=dtype[shape]<n   labels=int64[5]<10      integers below n
name=file             x=point.npy             y=data.npz:labels
name=number           t=0.5                   k=3
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradverify.cli.outcome import UsageError

_DRAWN = re.compile(r"(?P<dtype>[a-z]+\d*)\[(?P<shape>[\d,\s]*)\](?:<(?P<below>\d+))?")
_CALL = re.compile(r"(?P<name>[^()]+)\((?P<arguments>.*)\)", re.DOTALL)
_GRAMMAR = "name=float64[3,4], name=file.npy, name=file.npz:key or name=0.5"


@dataclass(frozen=True)
class Named:
    """An object of a module, and the module in which further names are looked up."""

    module: str
    name: str
    value: Any


def resolve(text: str, home: str = "") -> Named:
    """The object at ``module:name``; a bare name is looked up in the module `home`.

    ``module:name(3, 7)`` calls it with literals, and a function without parameters is called for the
    object it makes.
    """
    module, colon, name = (
        text.partition(":") if not home or ":" in text.partition("(")[0] else (home, ":", text)
    )
    if not colon or not module or not name:
        raise UsageError(f"{text!r}: write module:object, for example layers:Dense(3,7) or layers:relu")
    call = _CALL.fullmatch(name)
    value = _attribute(_module(module), call["name"] if call else name, module)
    if call:
        value = _called(value, call["arguments"], text)
    elif inspect.isfunction(value) and not inspect.signature(value).parameters:
        value = _called(value, "", text)
    return Named(module, name, value)


def _module(name: str) -> Any:
    path = Path(name)
    if path.suffix == ".py":
        if not path.is_file():
            raise UsageError(f"{name}: no such file")
        sys.path.insert(0, str(path.resolve().parent))
        name = path.stem
    elif "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise UsageError(f"{name}: {error}") from error
    except (TypeError, ValueError) as error:
        raise UsageError(f"{name!r} is not the name of a module ({error})") from error


def _attribute(module: Any, dotted: str, name: str) -> Any:
    value = module
    for part in dotted.strip().split("."):
        if not hasattr(value, part):
            raise UsageError(f"{name}:{dotted}: {getattr(value, '__name__', value)} has no {part!r}")
        value = getattr(value, part)
    return value


def _called(value: Any, arguments: str, text: str) -> Any:
    try:
        tree = ast.parse(f"f({arguments})", mode="eval").body
        assert isinstance(tree, ast.Call)
        positional = [ast.literal_eval(node) for node in tree.args]
        keywords = {node.arg: ast.literal_eval(node.value) for node in tree.keywords if node.arg}
    except (SyntaxError, ValueError) as error:
        raise UsageError(f"{text}: the arguments must be literals ({error})") from error
    try:
        return value(*positional, **keywords)
    except TypeError as error:
        raise UsageError(f"{text}: {error}") from error


def instance_of(named: Named) -> Any:
    """The object itself; of a class an instance, if its constructor needs no arguments."""
    if not isinstance(named.value, type) or _is_function_of_torch(named.value):
        return named.value
    try:
        return named.value()
    except TypeError as error:
        example = f"{named.module}:{named.name}(3, 7)"
        raise UsageError(
            f"{named.module}:{named.name}: {error}; give the arguments, for example '{example}'"
        ) from error


def _is_function_of_torch(cls: type) -> bool:
    return any(base.__name__ == "Function" and base.__module__.startswith("torch") for base in cls.__mro__)


def read_inputs(texts: Sequence[str], seed: int) -> dict[str, Any]:
    """The inputs by name, drawn from one seed; UsageError for what the grammar does not know."""
    rng = np.random.default_rng(seed)
    values: dict[str, Any] = {}
    for text in texts:
        name, equals, what = text.partition("=")
        if not equals or not name.strip().isidentifier():
            raise UsageError(f"--input {text}: write {_GRAMMAR}")
        if name.strip() in values:
            raise UsageError(f"--input {text}: {name.strip()} is given twice")
        values[name.strip()] = _value(what.strip(), text, rng)
    return values


def _value(what: str, text: str, rng: np.random.Generator) -> Any:
    drawn = _DRAWN.fullmatch(what)
    if drawn is not None:
        return _draw(drawn, text, rng)
    path, _, key = what.rpartition(":") if ".npz:" in what else (what, "", "")
    if Path(path).suffix in (".npy", ".npz"):
        return _read(Path(path), key, text)
    try:
        literal = ast.literal_eval(what)
    except (SyntaxError, ValueError):
        raise UsageError(
            f"--input {text}: {what!r} is neither dtype[shape], a .npy or .npz file nor a number"
        ) from None
    return np.asarray(literal) if isinstance(literal, (list, tuple)) else literal


def _draw(drawn: re.Match[str], text: str, rng: np.random.Generator) -> Any:
    try:
        dtype = np.dtype(drawn["dtype"])
    except TypeError:
        raise UsageError(f"--input {text}: NumPy has no dtype {drawn['dtype']!r}") from None
    sizes = [size.strip() for size in drawn["shape"].split(",")] if drawn["shape"].strip() else []
    if not all(sizes):
        raise UsageError(f"--input {text}: the shape must be sizes with commas between them, as in [3,4]")
    shape = tuple(map(int, sizes))
    if dtype.kind in "iub":
        return np.asarray(rng.integers(0, int(drawn["below"] or 2), shape)).astype(dtype)
    if dtype.kind != "f" or drawn["below"]:
        raise UsageError(
            f"--input {text}: only floating, integer and boolean dtypes can be drawn; <n is for integers"
        )
    return np.asarray(rng.standard_normal(shape)).astype(dtype)


def _read(path: Path, key: str, text: str) -> Any:
    try:
        content = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UsageError(f"--input {text}: {path} cannot be read ({error})") from None
    if isinstance(content, np.ndarray):
        return content
    with content:
        names = content.files
        chosen = key or (names[0] if len(names) == 1 else "")
        if chosen not in names:
            raise UsageError(
                f"--input {text}: say which array, as in {path}:x; there are {', '.join(names) or 'none'}"
            )
        return content[chosen]


def ordered(forward: Callable[..., Any], values: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """The inputs as the forward takes them: its parameters by position, gaps as keywords.

    Names that the forward does not have are an error, unless it takes ``*args``.
    """
    try:
        parameters = list(inspect.signature(forward).parameters.values())
    except (TypeError, ValueError):
        return list(values.values()), {}
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return list(values.values()), {}
    names = [p.name for p in parameters]
    unknown = [name for name in values if name not in names]
    if (unknown and len(values) > 1) or (unknown and not names):
        raise UsageError(
            f"--input {unknown[0]}: there is no such argument; the forward takes {', '.join(names) or 'none'}"
        )
    if unknown:  # a single input needs no right name: there is no order to get wrong
        return list(values.values()), {}
    leading = next((i for i, name in enumerate(names) if name not in values), len(names))
    return [values[n] for n in names[:leading]], {n: v for n, v in values.items() if n not in names[:leading]}
