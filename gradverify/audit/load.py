"""Import a file under its own name, and make instances of its classes. Runs in a worker only."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

from gradverify.audit.constructing import calls_to_try
from gradverify.audit.imports import (
    FINDER,
    folders_of,
    forget,
    forget_absent,
    install,
    is_below,
    lend_dropped,
    lend_folder,
    lend_none_as_shape,
    lend_typing,
    missing_in,
)
from gradverify.audit.older import PROJECT, define_guarded, definitions_of
from gradverify.audit.record import Source
from gradverify.audit.refusals import by_name, changes
from gradverify.audit.search import silence
from gradverify.audit.settingup import STARS, required_of, set_ups
from gradverify.audit.signatures import reveal
from gradverify.audit.stages import filled

_MOST = 40  # constructor calls for one class
_MOST_ABSENT = 12  # packages stood in for in one module


class NotTriable(Exception):  # noqa: N818 - not an error of the program: the reason of an entry
    """Why a candidate could not be tried, and what would try it."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy


def load(source: Source) -> ModuleType:
    """The module of a source, imported as its own project would; raises `NotTriable`.

    Packages that are not installed are stood in for, as long as nothing computes with them.
    """
    _prepare_path(source)
    for _ in range(_MOST_ABSENT):
        try:
            with silence(), FINDER.lenient():
                return _import(source)
        except (Exception, SystemExit) as error:
            if (isinstance(error, NameError) and lend_typing(error.name)) or lend_dropped(error) or lend_folder(error):
                continue
            missing = missing_in(error)
            if not missing or missing in FINDER.absent:
                return _without_package(source, error)
            FINDER.absent.add(missing)
            forget(source.module.split(".")[0])
    raise NotTriable(f"its module needs more than {_MOST_ABSENT} packages that are not installed")


def _without_package(source: Source, why: BaseException) -> ModuleType:
    """The module of a file in a package that fails by itself: what the package's own code would do is left out."""
    parents = source.module.split(".")[:-1] if Path(source.path).name != "__init__.py" else []
    if not parents or not isinstance(why, (ImportError, NameError, AttributeError)):
        return _as_script(source, why)
    forget(parents[0])
    for depth in range(len(parents)):
        package = ModuleType(".".join(parents[: depth + 1]))
        package.__path__ = [str(Path(source.root, *parents[: depth + 1]))]
        sys.modules[package.__name__] = package
    try:
        with silence(), FINDER.lenient():
            return importlib.import_module(source.module)
    except (Exception, SystemExit):
        forget(parents[0])
        return _as_script(source, why)


def _as_script(source: Source, why: BaseException) -> ModuleType:
    """What a script defines that misses its files, its arguments or its user when it is imported."""
    if not isinstance(why, (OSError, EOFError, IndexError)):
        raise _not_importable(why) from why
    try:
        with silence(), FINDER.lenient():
            return definitions_of(source.module, source.path)
    except (Exception, SystemExit):
        raise _not_importable(why) from why


def _not_importable(error: BaseException) -> NotTriable:
    complaint = f"its module cannot be imported: {type(error).__name__}: {error}"
    absent = ", ".join(sorted({name.split(".")[0] for name in FINDER.absent}))
    return NotTriable(complaint, f"pip install {absent.replace(',', '')}" if absent else "")


def _prepare_path(source: Source) -> None:
    install()
    FINDER.absent.clear()
    FINDER.shadowed.clear()
    folders = folders_of(source.path)
    if FINDER.folders != folders:  # its own folder's "layers" is meant, not that of the one beside it
        _forget_below(FINDER.folders[-1:])
        forget_absent()
    FINDER.folders = folders
    PROJECT[:] = folders[-1:]
    if sys.path[:1] != [source.root]:
        sys.path[:] = [source.root, *(p for p in sys.path if p not in _ROOTS)]  # another copy's package is none of this
        _ROOTS.add(source.root)
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))  # last: a random.py there must not stand in for the library's


_ROOTS: set[str] = set()  # that files audited before were imported from


def _import(source: Source) -> ModuleType:
    top = source.module.split(".")[0]
    is_package = "." in source.module or Path(source.path).name == "__init__.py"
    taken = top in sys.stdlib_module_names or top in FINDER.shadowed
    name = f"{top}_" if taken and not is_package else top
    file = Path(source.root, top, "__init__.py") if is_package else Path(source.path)
    known = sys.modules.get(name)
    if known is not None and not _is_from(known, file):
        forget(name)
    if is_package:
        return importlib.import_module(source.module)
    try:
        return sys.modules.get(name) or _import_file(name, source.path)
    except ImportError as error:
        if "no known parent package" not in str(error):
            raise
        return _import_below(Path(source.path))


def _import_below(path: Path) -> ModuleType:
    """A file with relative imports in a folder that no ``__init__.py`` makes a package, as part of those above."""
    tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
    level = max(node.level for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))
    root = path.parents[level]
    while (root / "__init__.py").exists():
        root = root.parent
    name = ".".join([*path.relative_to(root).parent.parts, path.stem])
    forget(name.split(".")[0])
    sys.path.insert(0, str(root))
    return importlib.import_module(name)


def _is_from(module: ModuleType, file: Path) -> bool:
    location = getattr(module, "__file__", None)
    return location is not None and Path(location).resolve() == file.resolve()


def _forget_below(folders: list[Path]) -> None:
    """Forget the modules of another project: its ``common`` must not stand in for this one's."""
    for name in [name for name, m in sys.modules.items() if is_below(m, folders) or _is_folder_below(m, folders)]:
        del sys.modules[name]


def _is_folder_below(module: ModuleType, folders: list[Path]) -> bool:
    """Whether a module is a folder of the project, or its root, without an ``__init__.py``, and so without a file."""
    paths = [] if getattr(module, "__file__", None) else list(getattr(module, "__path__", None) or ())
    places = [Path(p) for p in paths if "site-packages" not in p]
    return any(folder == place or folder in place.parents for place in places for folder in folders)


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
    value_of: Any = module
    for name in dotted.split("."):
        value = (
            inspect.getattr_static(value, name, None) if name.startswith("__") else getattr(value, name, None)
        )
        if value is None and value_of is module and define_guarded(module, name):
            value = getattr(module, name, None)
        if value is None:
            raise NotTriable(f"{dotted} does not exist after the import")
        value_of = value
    reveal(value)
    return value


def beside(module: ModuleType) -> list[ModuleType]:
    """The other modules of the project that are imported, those of the same package first."""
    own = module.__name__.split(".")[0]
    return sorted(FINDER.imported(module), key=lambda m: not m.__name__.startswith(own))


@dataclass(frozen=True)
class Made:
    """An instance, and how it was made: its settings, and the shape its set-up was told (None: not set up)."""

    obj: Any
    settings: dict[str, Any]
    shape: Any = None

    def again(self, name: str, value: Any, seed: int) -> Iterator[Made]:
        """The same with one setting of the constructor changed; nothing where that cannot be made."""
        settings = {**self.settings, name: value}
        try:
            with silence():
                obj = type(self.obj)(**settings)
        except Exception:
            return
        made = Made(obj, settings)
        shapes = _set_up(made, seed) if self.shape is not None else ()
        yield from [made] if self.shape is None else [m for m in shapes if m.shape == self.shape]


def instances(cls: type, seed: int, path: str = "") -> Iterator[Made]:
    """Instances of a class: as its project makes them, with every default, with arguments guessed by name.

    Each comes once as made, then once for each way to call what sets it up. Raises `NotTriable`
    with the first complaint if none can be made.
    """
    complaints: list[Exception] = []
    made = 0
    for call in islice(calls_to_try(cls, seed, path), _MOST):
        try:
            with silence():
                instance, positional, keywords = _as_it_asks(cls, *call)
        except Exception as error:
            complaints.append(error)
            continue
        made += 1
        network = filled(instance)
        if network is not None:
            yield Made(network, _settings(cls, positional, keywords))
        yield Made(instance, _settings(cls, positional, keywords))
        if made <= _MOST_SET_UP:
            yield from _set_up(Made(instance, _settings(cls, positional, keywords)), seed)
    if not made:
        names = ", ".join(p.name for p in required_of(cls))
        first = complaints[0]
        raise NotTriable(f"no arguments found for {cls.__name__}({names}): {type(first).__name__}: {first}") from first


def _as_it_asks(cls: type, positional: list[Any], keywords: dict[str, Any]) -> tuple[Any, list[Any], dict[str, Any]]:
    """An instance with the arguments it was made with: one of them at a time as a condition of the code asks for it."""
    for _ in range(_CONDITIONS):
        try:
            return _called(cls, positional, keywords), positional, keywords
        except Exception as error:
            given = by_name(cls, tuple(positional), keywords)
            found = changes(error, given)
            if not found:
                raise
            positional, keywords = [], given | dict(found[:1])
    return _called(cls, positional, keywords), positional, keywords


_CONDITIONS = 8  # that are met one after the other


def _called(cls: type, positional: list[Any], keywords: dict[str, Any]) -> Any:
    """An instance, also of a class that gives NumPy None for a shape, as NumPy took it for decades."""
    try:
        return cls(*positional, **keywords)
    except TypeError as error:
        if "not None as shape" not in str(error):
            raise
        lend_none_as_shape(cls)
        return cls(*positional, **keywords)


def made_by(cls: type, make: Callable[[type], Any]) -> Iterator[Made]:
    """The one instance that a project itself says how to make."""
    try:
        with silence():
            yield Made(make(cls), {})
    except Exception as error:
        complaint = f"{type(error).__name__}: {error}"
        raise NotTriable(f"the example given for {cls.__name__} does not make it: {complaint}") from error


def _settings(cls: type, positional: list[Any], keywords: dict[str, Any]) -> dict[str, Any]:
    """Everything the constructor takes, by name; nothing where that is not known."""
    try:
        bound = inspect.signature(cls).bind(*positional, **keywords)
    except (TypeError, ValueError):
        return {}
    bound.apply_defaults()
    kinds = {p.name: p.kind for p in bound.signature.parameters.values()}
    return {name: value for name, value in bound.arguments.items() if kinds[name] not in STARS}


def _set_up(made: Made, seed: int) -> Iterator[Made]:
    """The same with everything called that sets it up, for data of several shapes."""
    yield from (replace(made, obj=twin, shape=shape) for twin, shape in set_ups(made.obj, seed))


_MOST_SET_UP = 3
