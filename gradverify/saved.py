"""Failures kept on disk, so that ``gradverify again ID`` shows each one again by itself."""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import pickle
import sys
import warnings
from pathlib import Path
from typing import Any

from gradverify.records import Report

FOLDER = Path(".gradverify")


def save(target: Any, inputs: tuple[Any, ...], options: dict[str, Any], report: Report) -> str:
    """Write the call that failed; returns its ID, or how to repeat it where it cannot be stored."""
    try:
        content = _pickled((target, inputs, options))
    except Exception:
        return _test_in_progress()
    identity = hashlib.sha256(content).hexdigest()[:8]
    about = {
        "target": report.target,
        "verdict": report.verdict.value,
        "modules": _modules(target),
        "path": sys.path[:1],
    }
    try:
        FOLDER.mkdir(exist_ok=True)
        _replace(FOLDER / f"{identity}.pickle", content)
        _replace(FOLDER / f"{identity}.json", json.dumps(about, indent=1).encode())
    except OSError:  # a read-only place: the check itself is worth more than its copy
        return _test_in_progress()
    return identity


def _pickled(call: Any) -> bytes:
    stream = io.BytesIO()
    _Pickler(stream).dump(call)
    return stream.getvalue()


class _Pickler(pickle.Pickler):
    """Keeps the hooks that were put on a tensor, which is pickled without."""

    def reducer_override(self, obj: Any) -> Any:
        own = {put: list(hooks.values()) for put, kept in _HOOKS.items() if (hooks := getattr(obj, kept, None))}
        if not own or not hasattr(type(obj), "register_hook"):
            return NotImplemented
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that hooks are lost
            return _hooked, (obj.__reduce_ex__(pickle.DEFAULT_PROTOCOL), own)


_HOOKS = {
    "register_hook": "_backward_hooks",
    "register_post_accumulate_grad_hook": "_post_accumulate_grad_hooks",
}


def _hooked(reduced: tuple[Any, ...], hooks: dict[str, list[Any]]) -> Any:
    make, arguments = reduced[:2]
    tensor = make(*arguments)
    for put, own in hooks.items():
        for hook in own:
            getattr(tensor, put)(hook)
    return tensor


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def _test_in_progress() -> str:
    current = os.environ.get("PYTEST_CURRENT_TEST", "")
    return f"pytest {current.split(' ')[0]}" if current else ""


def _modules(target: Any) -> dict[str, str]:
    """The files of the modules the target's code lives in, so that they can be imported from anywhere."""
    parts = [target, *getattr(target, "__dict__", {}).values(), *getattr(target, "claims", {}).values()]
    names = {getattr(part, "__module__", None) or type(part).__module__ for part in parts}
    files = {
        name: getattr(sys.modules.get(name), "__file__", None) for name in names if isinstance(name, str)
    }
    return {name: file for name, file in files.items() if file and not name.startswith("gradverify.")}


def load(identity: str, folder: Path = FOLDER) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """The target, inputs and options of a saved failure; FileNotFoundError if there is none.

    The file is a pickle that this tool wrote on this machine: load none that came from elsewhere.
    """
    about = folder / f"{identity}.json"
    if not identity.isalnum() or not about.exists():
        known = sorted(p.stem for p in folder.glob("*.json"))
        raise FileNotFoundError(
            f"no saved failure {identity!r} in {folder}; there are {', '.join(known) or 'none'}"
        )
    modules: dict[str, str] = json.loads(about.read_text())["modules"]
    for name, file in modules.items():
        _import_from(_ALIAS.get(name, name), file)
    with (folder / f"{identity}.pickle").open("rb") as stream:
        call: tuple[Any, tuple[Any, ...], dict[str, Any]] = _Unpickler(stream).load()
    return call


# A script's own functions are pickled as those of ``__main__``, which by then is somebody else.
_ALIAS = {"__main__": "__gradverify_main__"}


class _Unpickler(pickle.Unpickler):  # the way the standard library offers to rename a module
    def find_class(self, module: str, name: str) -> Any:
        return super().find_class(_ALIAS.get(module, module), name)


def _import_from(name: str, file: str) -> None:
    root = name.split(".", maxsplit=1)[0]
    if name in sys.modules or (name not in _ALIAS.values() and importlib.util.find_spec(root)):
        return
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
