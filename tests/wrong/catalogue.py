"""The two records of the catalogue of wrong gradients, and how its tables are read.

A `Wrong` stands beside the `Right` it was made from. `finding` names an open finding on the engine: the
row is then expected not to hold. `misnamed` does so for the first cause alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NONE: Mapping[str, Any] = {"search": "none"}
QUICK: Mapping[str, Any] = {}


@dataclass(frozen=True)
class Wrong:
    """A wrong gradient, the leaf that must fail and the cause that must come first (several: ``a|b``)."""

    note: str
    target: Any
    inputs: tuple[Any, ...]
    leaf: str
    cause: str
    options: Mapping[str, Any] = field(default_factory=lambda: NONE)
    finding: str = ""
    misnamed: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.inputs, tuple):
            object.__setattr__(self, "inputs", (self.inputs,))


@dataclass(frozen=True)
class Right:
    """A right gradient; `may` says why it may be inconclusive, otherwise it must pass."""

    note: str
    target: Any
    inputs: tuple[Any, ...]
    options: Mapping[str, Any] = field(default_factory=lambda: QUICK)
    may: str = ""
    finding: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.inputs, tuple):
            object.__setattr__(self, "inputs", (self.inputs,))


def read_tables(*names: str) -> list[Wrong | Right]:
    """The rows of the tables named, or of every one that needs NumPy alone."""
    found = names or tuple(sorted(p.stem for p in HERE.glob("cases_*.py") if "torch" not in p.stem))
    return [row for name in (*found, *(() if names else ("right_but_difficult",))) for row in import_module(name).CASES]
