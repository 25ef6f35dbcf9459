"""Make the modules of a project importable as its authors had them, years and missing packages aside.

Runs in a worker only: it changes `sys.meta_path`, and gives NumPy and the standard library back the
names that newer versions dropped.
"""

from __future__ import annotations

import builtins
import collections
import collections.abc
import contextlib
import importlib.machinery
import importlib.util
import re
import sys
import typing
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial, reduce, wraps
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Self

import numpy as np

from gradverify.audit import older

_LEVELS = 5  # folders above a file that may be the one its imports start from
_ROOT_MARKS = (".git", "pyproject.toml", "setup.py", "setup.cfg", "requirements.txt", "README.md", "README.rst",
               "README", "LICENSE", "METADATA")  # fmt: skip

# Dropped by NumPy 1.24 and 2.0; code that was written before still computes what it did.
_OLD_NUMPY = {
    "float": float, "int": int, "object": object, "str": str, "complex": complex, "float_": np.float64,
    "product": np.prod, "cumproduct": np.cumprod, "alltrue": np.all, "sometrue": np.any, "Inf": np.inf,
    "infty": np.inf, "NaN": np.nan, "mat": np.asmatrix, "row_stack": np.vstack,
}  # fmt: skip


def revive_old_names() -> None:
    """``np.float``, ``collections.Hashable`` and their like exist again, ``np.hstack(x for x in y)`` works."""
    for name, value in _OLD_NUMPY.items():
        if name not in np.__dict__:
            setattr(np, name, value)
    for name in _STACKS:
        setattr(np, name, _of_generators(getattr(np, name)))
    for name in collections.abc.__all__:
        if not hasattr(collections, name):
            setattr(collections, name, getattr(collections.abc, name))
    for name, value in _BUILTINS_OF_2.items():
        setattr(builtins, name, getattr(builtins, name, value))


_BUILTINS_OF_2 = {"unicode": str, "basestring": str, "long": int, "xrange": range, "reduce": reduce}


_STACKS = ("hstack", "vstack", "dstack", "column_stack", "stack")


def _of_generators(stack: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(stack)
    def function(arrays: Any, *more: Any, **named: Any) -> Any:
        return stack(list(arrays) if isinstance(arrays, Iterator) else arrays, *more, **named)

    return function


class _OlderNumpy(ModuleType):
    """NumPy, with None for the shape of a scalar as it took it for decades."""

    def __getattr__(self, name: str) -> Any:
        value = getattr(np, name)
        if name not in _ALLOCATIONS:
            return value
        # Asked again at every call: while other numbers run through a forward, NumPy's own names are theirs.
        return lambda shape, *more, **named: getattr(np, name)(() if shape is None else shape, *more, **named)


_ALLOCATIONS = ("zeros", "ones", "empty", "full")


def lend_none_as_shape(cls: type) -> None:
    """Let the modules of a class and its bases give NumPy None for a shape; only these, and only where one does."""
    for base in cls.__mro__[:-1]:
        names = vars(sys.modules.get(base.__module__, np))
        for name in [n for n, value in list(names.items()) if value is np and names is not vars(np)]:
            names[name] = _OlderNumpy("numpy")


def lend_typing(name: str | None) -> bool:
    """Whether a name that a module forgot to import is one of `typing`; it is known everywhere from here on."""
    if name not in typing.__all__ or hasattr(builtins, name):
        return False
    setattr(builtins, name, getattr(typing, name))
    return True


def lend_dropped(error: BaseException) -> bool:
    """Whether an import failed of a name that another package no longer has, or never compiled; it is stood in for."""
    match = re.match(r"cannot import name '(\w+)' from '([\w.]+)'", str(error) * isinstance(error, ImportError))
    module = sys.modules.get(match[2]) if match is not None else None
    if match is None or module is None or is_below(module, FINDER.folders[-1:]) or match[1] in vars(module):
        return False
    setattr(module, match[1], _absent_name(match[2], match[1]))
    return True


def lend_folder(error: BaseException) -> bool:
    """Whether an import failed because a file is called like its package, ``net/net.py``, which goes before it now."""
    match = re.search(r"'(\w+)' is not a package", str(error) * isinstance(error, ModuleNotFoundError))
    folders = [f / match[1] for f in FINDER.folders if (f / match[1]).is_dir()] if match is not None else []
    if match is None or not folders or match[1] in FINDER.shadowed:
        return False
    FINDER.shadowed.add(match[1])
    forget(match[1])
    package = ModuleType(match[1])
    package.__path__ = [str(folders[0])]
    sys.modules[match[1]] = package
    return True


def forget(top: str) -> None:
    """Have a module and what is below it imported anew: two projects may both have a module "layers"."""
    for name in [name for name in sys.modules if name == top or name.startswith(f"{top}.")]:
        del sys.modules[name]


def forget_absent() -> None:
    """Have what was not there looked for anew: another project may have it."""
    for name, module in list(sys.modules.items()):
        if isinstance(getattr(getattr(module, "__spec__", None), "loader", None), _AbsentLoader):
            del sys.modules[name]


class Absent:
    """Stands for whatever a package that is not installed holds: fit to import, useless to compute with.

    A decorator (``@njit``) returns what it decorates, ``tqdm(x)`` returns x. `source` is the module it came from.
    """

    source = ""

    def __init__(self, *args: Any, **_: Any) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _absent(self.source)

    def __call__(self, *args: Any, **_: Any) -> Any:
        if not FINDER.importing and any(isinstance(a, np.ndarray) for a in args):
            raise NotImplementedError(f"it computes with what is not installed or not compiled: {self.source}")
        if FINDER.importing and args and isinstance(args[0], (list, tuple)):
            return _absent(self.source)  # @njit([signatures]) is called with the function next
        passes = args and (callable(args[0]) or isinstance(args[0], (Sequence, Iterator))) and args[0] != ""
        return args[0] if passes and not isinstance(args[0], str) else _absent(self.source)

    def __getitem__(self, _: Any) -> Any:
        return _absent(self.source)

    def __setitem__(self, *_: Any) -> None:
        pass

    def __or__(self, _: Any) -> Any:
        return Absent()

    __ror__ = __or__

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _AbsentLoader(Loader):
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = ModuleType(spec.name)
        module.__path__ = []
        look_up = _numpy_or_absent if spec.name.split(".")[0] == "cupy" else _absent_name
        module.__getattr__ = partial(look_up, spec.name)  # type: ignore[method-assign]
        return module

    def exec_module(self, module: ModuleType) -> None:
        pass


def _absent(source: str) -> Absent:
    thing = Absent()
    thing.source = source
    return thing


def _absent_name(source: str, name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    if name in _LOOPS:
        return range
    return type(name, (Absent,), {"source": source}) if name[:1].isupper() else _absent(source)


_LOOPS = ("prange", "trange")  # what stands for range, in parallel or with a bar


def _numpy_or_absent(source: str, name: str) -> Any:
    """CuPy's functions are NumPy's on another machine."""
    own = {"asnumpy": np.asarray, "get_array_module": lambda *_: np}
    return own.get(name) or getattr(np, name, None) or _absent_name(source, name)


class Finder:
    """Finds a project's own modules from the folders above its files, and stands in for absent ones."""

    def __init__(self) -> None:
        self.folders: list[Path] = []
        self.absent: set[str] = set()
        self.shadowed: set[str] = set()  # packages with a file of their name inside, which is found before them
        self.importing = False  # scripts may do what they like with absent packages until they are asked for numbers

    @contextlib.contextmanager
    def lenient(self) -> Iterator[None]:
        """While a module is imported, calls of what is absent return nothing of use; later they raise."""
        self.importing = True
        try:
            yield
        finally:
            self.importing = False

    def find_spec(self, name: str, path: Sequence[str] | None = None, _: Any = None) -> ModuleSpec | None:
        """The spec of a module that the ordinary finders do not find; None if nothing here helps."""
        if path is None:
            found = self._in_folders(name)
            if found is not None:
                return found
        if name in self.absent or name.rpartition(".")[0] in self.absent:
            self.absent.add(name)
            return ModuleSpec(name, _AbsentLoader(), is_package=True)
        return None

    def _in_folders(self, name: str) -> ModuleSpec | None:
        for folder in self.folders:
            spec = importlib.machinery.PathFinder.find_spec(name, [str(folder)])
            if spec is not None:
                return spec
        same = next((f for f in self.folders if _is_called(f, name)), None)
        if same is None:
            return self._further_down(name)
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(same)]
        return spec

    def imported(self, but: ModuleType | None = None) -> list[ModuleType]:
        """The modules of the project that are imported, save one."""
        return [m for m in list(sys.modules.values()) if m is not but and is_below(m, self.folders[-1:])]

    def _further_down(self, name: str) -> ModuleSpec | None:
        """A module that scripts reach by changing `sys.path`: the one of its name that is nearest in the project."""
        for root in self.folders[-1:]:
            found = _modules_below(root, name)
            if found:
                near = max(found, key=lambda f: (len(_shared(f, self.folders[0])), -len(f.parts)))
                return importlib.machinery.PathFinder.find_spec(name, [str(near)])
        return None


def _shared(first: Path, second: Path) -> list[str]:
    return [a for a, b in zip(first.parts, second.parts, strict=False) if a == b]


@cache
def _modules_below(root: Path, name: str) -> list[Path]:
    """The folders below a root, three deep, that have a module or package of a name."""
    patterns = [f"{'*/' * depth}{name}{end}" for depth in range(1, 4) for end in (".py", "/__init__.py")]
    files = [file for pattern in patterns for file in root.glob(pattern)]
    return [f.parents[1] if f.name == "__init__.py" else f.parent for f in files]


def is_below(module: Any, folders: list[Path]) -> bool:
    """Whether a module is one of the project in some folders, and neither installed nor this library."""
    location = str(getattr(module, "__file__", None) or "")
    inside = location and "site-packages" not in location and not module.__name__.startswith("gradverify")
    return bool(inside) and any(folder in Path(location).parents for folder in folders)


def _is_called(folder: Path, name: str) -> bool:
    """Whether a folder is a checkout of the project `name`: ``deepnet``, ``user+deepnet``, ``deepnet-master``."""
    words = folder.name.replace("+", " ").replace("-", " ").replace(".", " ").lower().split()
    return name.lower() in words or name.lower() == folder.name.replace("-", "_").lower()


FINDER = Finder()


def install() -> None:
    """Put the finder behind all others; once."""
    if FINDER not in sys.meta_path:
        sys.meta_path.append(FINDER)
        revive_old_names()
        older.install()


def folders_of(path: str) -> list[Path]:
    """The folders that the imports of a file may start from: its own, and those above it up to the project's root.

    The root is the highest folder near with a README, a licence, a version control or a build file: parts of a
    project have their own. Where there is none, the highest of a chain of folders with Python files.
    """
    above = list(Path(path).resolve().parents)[:_LEVELS]
    marked = [i for i, folder in enumerate(above) if _is_root(folder)]
    if marked:
        return above[: marked[-1] + 1]
    chain = next((i for i, folder in enumerate(above) if not any(folder.glob("*.py"))), len(above))
    return above[: max(chain, 1)]


@cache
def _is_root(folder: Path) -> bool:
    return any((folder / mark).exists() for mark in _ROOT_MARKS)


def missing_in(error: BaseException) -> str:
    """The module whose absence an import failed of; empty for any other failure."""
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and error.name:
            return error.name
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    return ""
