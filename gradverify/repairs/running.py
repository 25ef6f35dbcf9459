"""User code run under watch: which functions it consists of, how many lines it takes, and nothing that outlives it."""

from __future__ import annotations

import sys
import sysconfig
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np

_PATHS = {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
_LIBRARIES = (*sorted(_PATHS), str(Path(__file__).parents[1]), "<frozen", "<string>")


class TooLong(BaseException):
    """The code has run many times as many lines as it did unchanged. No code of the user's is to catch it."""


@dataclass
class Watch:
    """What has run: the code of every function of the user's, with the names it finds outside, and how many lines."""

    most: float = float("inf")
    codes: dict[CodeType, Mapping[str, Any]] = field(default_factory=dict)
    lines: int = 0

    def run(self, code: Callable[[], Any]) -> Any:
        """Run it; raises `TooLong` beyond `most` lines."""
        before = sys.gettrace()
        sys.settrace(self._entered)
        try:
            return code()
        finally:
            sys.settrace(before)

    def _entered(self, frame: FrameType, _event: str, _: Any) -> Any:
        if not is_users(frame):
            return None
        if frame.f_code not in self.codes:
            free = {name: frame.f_locals[name] for name in frame.f_code.co_freevars if name in frame.f_locals}
            self.codes[frame.f_code] = {**frame.f_globals, **free}
        return self._line

    def _line(self, _frame: FrameType, event: str, _: Any) -> Any:
        self.lines += event == "line"
        if self.lines > self.most:
            raise TooLong
        return self._line


def is_users(frame: FrameType) -> bool:
    """Whether the code of a frame is neither Python's, nor an installed package's, nor ours."""
    return not frame.f_code.co_filename.startswith(_LIBRARIES)


def alone() -> bool:
    """Whether no other thread is within the user's code: it would run what is changed here."""
    own = threading.get_ident()
    return not any(_is_within(frame) for ident, frame in sys._current_frames().items() if ident != own)  # noqa: SLF001


def _is_within(frame: FrameType | None) -> bool:
    while frame is not None:
        if is_users(frame):
            return True
        frame = frame.f_back
    return False


@contextmanager
def frozen(values: Iterable[Any]) -> Iterator[None]:
    """Arrays that outlive a run, which none of it may write to."""
    arrays = [x for x in values if isinstance(x, np.ndarray) and x.flags.writeable]
    for array in arrays:
        array.flags.writeable = False
    try:
        yield
    finally:
        for array in arrays:
            array.flags.writeable = True


def outliving(codes: Mapping[CodeType, Mapping[str, Any]]) -> list[Any]:
    """The values behind the global names of this code, what stands in their containers, and attributes of classes."""
    direct = [names[n] for code, names in codes.items() for n in (*code.co_names, *code.co_freevars) if n in names]
    classes = [x for names in codes.values() for x in list(names.values()) if isinstance(x, type)]
    held = [x for owner in classes for x in vars(owner).values()]
    return [*direct, *held, *(y for x in (*direct, *held) for y in _parts(x))]


def _parts(x: Any) -> Iterable[Any]:
    return list(x.values()) if isinstance(x, dict) else x if isinstance(x, (list, tuple)) else ()
