"""Inputs that a project gives for its own code: `gv.example` in a conftest.py, tables in its pyproject.toml.

Both come before anything that an audit infers. The code itself never has to import gradverify.
"""

from __future__ import annotations

import re
import runpy
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from gradverify.audit.imports import folders_of
from gradverify.audit.inputs import Arguments
from gradverify.audit.load import NotTriable
from gradverify.audit.record import Candidate
from gradverify.audit.search import silence

_DRAWN = re.compile(r"(?P<dtype>[a-z]+\d*)\[(?P<shape>[\d,\s]*)\](?:<(?P<below>\d+))?")


@dataclass(frozen=True)
class Example:
    """How to make an object, and what to call its forward with."""

    symbol: str
    inputs: tuple[Any, ...]
    make: Any = None
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def is_of(self, candidate: Candidate) -> bool:
        """Whether it is for a candidate: ``layers:Dense`` in any folder, ``Dense`` in any file."""
        module, _, name = candidate.symbol.rpartition(":")
        wanted, _, own = self.symbol.rpartition(":")
        return own in (name, candidate.owner) and (not wanted or wanted == module or module.endswith(f".{wanted}"))

    def object_of(self, cls: Callable[..., Any]) -> Any:
        """The object: from the constructor's arguments, or from a function that makes it."""
        if callable(self.make):
            return self.make()
        return cls(**self.make) if isinstance(self.make, Mapping) else cls(*self.make)

    def arguments(self, seed: int) -> Arguments:
        """The arguments of the forward, words such as ``float64[5,3]`` drawn."""
        rng = np.random.default_rng(seed)
        return Arguments(tuple(drawn(value, rng) for value in self.inputs), dict(self.kwargs))


_GIVEN: list[Example] = []


def example(symbol: str, *inputs: Any, make: Any = None, kwargs: Mapping[str, Any] | None = None) -> None:
    """Give `gradverify audit` the inputs for ``module:name``, in a conftest.py or anything that it imports.

    An input is a value, or a word: ``"float64[5,3]"`` is standard normal, ``"int64[5]<10"`` integers
    below ten. `make` holds the arguments of the constructor, by place or by name, or is a function
    without arguments that returns the object; without it the object is made as an audit guesses. `kwargs`
    are fixed keywords of the forward.
    """
    if not isinstance(symbol, str) or not symbol.rpartition(":")[2]:
        raise ValueError(f"symbol={symbol!r}: must be module:name or a name")
    if not (make is None or callable(make) or isinstance(make, (tuple, list, Mapping))):
        raise TypeError(f"make={make!r}: must hold the constructor's arguments, or be a function that makes the object")
    _GIVEN.append(Example(symbol, inputs, make, dict(kwargs or {})))


def drawn(value: Any, rng: np.random.Generator) -> Any:
    """What a word stands for; anything else as it is, lists of numbers as arrays."""
    match = _DRAWN.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return np.array(value) if isinstance(value, list) else value
    shape = tuple(int(n) for n in match["shape"].split(",") if n.strip())
    kind = np.dtype(match["dtype"])
    if kind.kind == "f":
        return np.asarray(rng.standard_normal(shape)).astype(kind)
    return np.asarray(rng.integers(0, int(match["below"] or 2), shape)).astype(kind)


def examples_for(candidate: Candidate) -> tuple[Example, ...]:
    """What the project of a candidate gives for it, its conftest.py files first."""
    folders = folders_of(candidate.source.path)
    places = [*folders, folders[-1] / "tests"]
    in_code = [e for file in _present(places, "conftest.py") for e in _of_conftest(*file)]
    in_tables = [e for file in _present(places, "pyproject.toml") for e in _of_table(*file)]
    return tuple(e for e in (*in_code, *in_tables) if e.is_of(candidate))


def _present(folders: Sequence[Path], name: str) -> list[tuple[Path, int]]:
    """The files of a name, with the times of their last change."""
    return [(folder / name, (folder / name).stat().st_mtime_ns) for folder in folders if (folder / name).is_file()]


@cache
def _of_conftest(file: Path, _: int) -> tuple[Example, ...]:
    """The examples of a file; only one that gives any is run."""
    text = file.read_text(encoding="utf-8", errors="replace")
    if "example(" not in text or "gradverify" not in text:
        return ()
    before = len(_GIVEN)
    try:
        with silence():
            runpy.run_path(str(file))
    except Exception as error:
        raise NotTriable(f"{file.name} gives examples and raises {type(error).__name__}: {error}") from error
    return tuple(_GIVEN[before:])


@cache
def _of_table(file: Path, _: int) -> tuple[Example, ...]:
    """The tables ``[[tool.gradverify.example]]``: symbol, inputs, make, kwargs."""
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError:
        return ()
    rows = table.get("tool", {}).get("gradverify", {}).get("example", [])
    return tuple(map(_row, rows if isinstance(rows, list) else [rows]))


def _row(content: Any) -> Example:
    known = {"symbol", "inputs", "make", "kwargs"}
    if not isinstance(content, Mapping) or not isinstance(content.get("symbol"), str) or set(content) - known:
        raise NotTriable(f"[[tool.gradverify.example]] {content!r}: wants symbol, and knows inputs, make, kwargs")
    inputs: Sequence[Any] = content.get("inputs", [])
    return Example(content["symbol"], tuple(inputs), content.get("make"), content.get("kwargs", {}))
