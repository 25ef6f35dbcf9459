"""Paths and module names become the Python files they stand for; nothing is imported here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

from gradverify.audit.notebooks import as_module
from gradverify.audit.record import Source

_SKIPPED = {"__pycache__", "node_modules", "build", "dist", "site-packages", "venv", "env"}


def find_sources(
    places: Iterable[str | os.PathLike[str] | ModuleType], *, notebooks: bool = False
) -> tuple[Source, ...]:
    """Every Python file at the given paths or modules, once each, in a fixed order.

    A folder stands for the files below it, without hidden folders, virtual environments and build
    products; a module for its file; a package for its folder. ValueError for what does not exist.
    A notebook stands for what it defines; those in folders count only if `notebooks` is set.
    """
    files = [file for place in places for file in _files(place)]
    if notebooks:
        folders = [Path(place) for place in places if not isinstance(place, ModuleType)]
        files += [as_module(book) for folder in folders for book in sorted(folder.rglob("*.ipynb"))]
    return tuple(_source(file) for file in dict.fromkeys(files))


def _files(place: str | os.PathLike[str] | ModuleType) -> list[Path]:
    if isinstance(place, ModuleType):
        return _files_of_module(place)
    path = Path(place)
    if path.is_dir():
        return sorted(_walk(path.resolve()))
    if path.is_file():
        if path.suffix == ".ipynb":
            return [as_module(path)]
        return [path.resolve()] if path.suffix == ".py" else _reject(place, "not a Python file")
    name = str(place)
    return (
        _files_by_name(name)
        if name.replace(".", "_").isidentifier()
        else _reject(place, "no such file or folder")
    )


def _reject(place: object, why: str) -> list[Path]:
    raise ValueError(f"{place}: {why}")


def _walk(folder: Path) -> Iterator[Path]:
    for current, folders, files in os.walk(folder):
        folders[:] = sorted(d for d in folders if _is_wanted(Path(current, d)))
        yield from (Path(current, file) for file in files if file.endswith(".py"))


def _is_wanted(folder: Path) -> bool:
    return not (folder.name.startswith(".") or folder.name in _SKIPPED or (folder / "pyvenv.cfg").exists())


def _files_of_module(module: ModuleType) -> list[Path]:
    location = getattr(module, "__file__", None)
    if location is None or not location.endswith(".py"):
        return _reject(module.__name__, "this module has no Python source")
    return _files(Path(location).parent if Path(location).name == "__init__.py" else location)


def _files_by_name(name: str) -> list[Path]:
    # PathFinder and not find_spec: the latter imports the parent packages.
    search: list[str] | None = None
    for depth in range(name.count(".") + 1):
        part = name.split(".")[depth]
        spec = PathFinder.find_spec(part, search)
        if spec is None:
            return _reject(name, "neither a path nor a module that can be found")
        search = list(spec.submodule_search_locations or [])
    if search:
        return _files(search[0])
    origin = spec.origin if spec is not None else None
    return (
        [Path(origin)]
        if origin and origin.endswith(".py")
        else _reject(name, "this module has no Python source")
    )


def _source(file: Path) -> Source:
    parts = [] if file.name == "__init__.py" else [file.stem]
    folder = file.parent
    while (folder / "__init__.py").exists() and folder.name.isidentifier():
        parts.insert(0, folder.name)
        folder = folder.parent
    return Source(str(file), ".".join(parts), str(folder))
