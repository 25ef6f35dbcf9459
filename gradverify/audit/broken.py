"""Derivatives that no inputs make run: they read an attribute of their own object that nothing ever sets."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gradverify.audit.imports import folders_of
from gradverify.audit.record import Candidate
from gradverify.audit.sources import find_sources

_ATTRIBUTE = re.compile(r"AttributeError: '(\w+)' object has no attribute '(\w+)'")


def never_runs(traceback: str, cls: Any, candidate: Candidate) -> bool:
    """Whether an error says that the code itself is unfinished, whatever it is given.

    It does where it is the audited class that lacks an attribute, and no line of the class, its bases or its file
    assigns, defines or sets it, and no other file of its project sets it on an object, as a network does on its
    layers. A name that is not defined may be one that a missing module would have brought.
    """
    match = _ATTRIBUTE.search(traceback)
    if match is None or not isinstance(cls, type) or match[1] != cls.__name__:
        return False
    if any(_sets(text, match[2]) for text in _sources(cls, candidate)):
        return False
    return not any(_sets_from_outside(text, cls.__name__, match[2]) for text in _project(candidate))


def _sources(cls: type, candidate: Candidate) -> list[str]:
    found = [Path(candidate.source.path).read_text(encoding="utf-8", errors="replace")]
    for base in cls.__mro__[:-1]:
        try:
            found.append(inspect.getsource(base))
        except (OSError, TypeError):
            continue
    return found


def _sets(text: str, name: str) -> bool:
    escaped = re.escape(name)
    assigned = rf"\.{escaped}\s*(,[^=\n]*)?(:[^=\n]+)?=(?!=)|^\s+{escaped}\s*[:=]|^[ \t]+def\s+{escaped}\b"
    return re.search(rf"{assigned}|setattr\(|__dict__|__getattr__", text, re.MULTILINE) is not None


def _project(candidate: Candidate) -> Iterator[str]:
    own = Path(candidate.source.path).resolve()
    for source in find_sources([folders_of(candidate.source.path)[-1]]):
        if Path(source.path) != own:
            yield Path(source.path).read_text(encoding="utf-8", errors="replace")


def _sets_from_outside(text: str, cls: str, name: str) -> bool:
    """Whether a file sets the attribute on some object; on its own ``self`` only where it knows the class."""
    escaped = re.escape(name)
    other = rf"\.{escaped}\s*(,[^=\n]*)?(:[^=\n]+)?=(?!=)|setattr\((?!\s*self\b)|\.__dict__"
    found = (m[0] for m in re.finditer(rf"(\bself)?({other})", text))
    return any(not hit.startswith("self") for hit in found) or (cls in text and _sets(text, name))
