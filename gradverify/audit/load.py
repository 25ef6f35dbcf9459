"""Import a file under its own name, and make instances of its classes. Runs in a worker only."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from gradverify.audit.guesses import settings_for
from gradverify.audit.record import Source
from gradverify.audit.search import silence

_MOST = 40  # constructor calls for one class


class NotTriable(Exception):  # noqa: N818 - not an error of the program: the reason of an entry
    """Why a candidate could not be tried, and what would try it."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy


def load(source: Source) -> ModuleType:
    """The module of a source, imported as its own project would; raises `NotTriable`."""
    if sys.path[:1] != [source.root]:
        sys.path.insert(0, source.root)
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # last: a random.py there must not stand in for the library's
    try:
        with silence():
            return _import(source)
    except (Exception, SystemExit) as error:
        raise NotTriable(f"its module cannot be imported: {type(error).__name__}: {error}") from error


def _import(source: Source) -> ModuleType:
    top = source.module.split(".")[0]
    is_package = "." in source.module or Path(source.path).name == "__init__.py"
    name = top if is_package or top not in sys.stdlib_module_names else f"{top}_"
    file = Path(source.root, top, "__init__.py") if is_package else Path(source.path)
    known = sys.modules.get(name)
    if known is not None and not _is_from(known, file):
        _forget(name)
    if is_package:
        return importlib.import_module(source.module)
    return sys.modules.get(name) or _import_file(name, source.path)


def _is_from(module: ModuleType, file: Path) -> bool:
    location = getattr(module, "__file__", None)
    return location is not None and Path(location).resolve() == file.resolve()


def _forget(top: str) -> None:
    # Two projects may both have a module "layers"; each is to import its own.
    for name in [name for name in sys.modules if name == top or name.startswith(f"{top}.")]:
        del sys.modules[name]


def _import_file(name: str, path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"no loader for {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def find_attribute(module: ModuleType, dotted: str) -> Any:
    """The class or function at a dotted path of a module; raises `NotTriable`."""
    value: Any = module
    for name in dotted.split("."):
        value = (
            inspect.getattr_static(value, name, None) if name.startswith("__") else getattr(value, name, None)
        )
        if value is None:
            raise NotTriable(f"{dotted} does not exist after the import")
    return value


def instances(cls: type, seed: int) -> Iterator[Any]:
    """Instances of a class, its required arguments guessed from their names, annotations and hope.

    Raises `NotTriable` with the last complaint if none can be made.
    """
    rng = np.random.default_rng(seed)
    parameters = [
        p for p in _constructor(cls) if p.default is inspect.Parameter.empty and p.kind not in _STARS
    ]
    choices = [settings_for(parameter, rng) for parameter in parameters]
    complaint, made = "", 0
    for values in islice(_diagonally(choices), _MOST):
        positional = [
            v for p, v in zip(parameters, values, strict=True) if p.kind is not inspect.Parameter.KEYWORD_ONLY
        ]
        keywords = {
            p.name: v
            for p, v in zip(parameters, values, strict=True)
            if p.kind is inspect.Parameter.KEYWORD_ONLY
        }
        try:
            with silence():
                instance = cls(*positional, **keywords)
        except Exception as error:
            complaint = complaint or f"{type(error).__name__}: {error}"
            continue
        made += 1
        yield instance
    if not made:
        names = ", ".join(p.name for p in parameters)
        raise NotTriable(f"no arguments found for {cls.__name__}({names}): {complaint}")


_STARS = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def _constructor(cls: type) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(cls).parameters.values())
    except (TypeError, ValueError):
        return []


def _diagonally(choices: list[list[Any]]) -> list[tuple[Any, ...]]:
    """Combinations, those nearest to everybody's first choice first."""
    ranked = sorted(
        product(*(list(enumerate(c))[:4] for c in choices[:6])), key=lambda row: sum(i for i, _ in row)
    )
    rest = tuple(c[0] for c in choices[6:])
    return [tuple(value for _, value in row) + rest for row in ranked]
