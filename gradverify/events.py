"""Who hears of every report, who may excuse an undecided one, and which options hold by default.

The way from a check to whatever runs it, such as the pytest plugin, without either knowing the
other. The standard library only: the plugin imports this at every start of pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradverify.records import Report

listeners: list[Callable[[Report], object]] = []
policies: list[Callable[[Report], bool]] = []
_defaults: list[Mapping[str, Any]] = []


def publish(report: Report) -> None:
    """Tell every listener of a report."""
    for listener in tuple(listeners):
        listener(report)


def excused(report: Report) -> bool:
    """Whether a policy lets a caller go on after an inconclusive report; it may raise instead."""
    __tracebackhide__ = True
    return any(policy(report) for policy in tuple(policies))


def with_defaults(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options given, on top of those that hold here.

    >>> with defaults({"seed": 3, "search": "deep"}), defaults({"seed": 4}):
    ...     with_defaults({"search": "none"})
    {'seed': 4, 'search': 'none'}
    """
    return {name: value for layer in (*_defaults, options) for name, value in layer.items()}


@contextmanager
def defaults(options: Mapping[str, Any]) -> Iterator[None]:
    """Within the block these options hold for checks that do not name them; the innermost wins."""
    _defaults.append(options)
    try:
        yield
    finally:
        _defaults.pop()


@contextmanager
def unheard() -> Iterator[None]:
    """Within the block no listener hears of a report."""
    kept = listeners[:]
    listeners.clear()
    try:
        yield
    finally:
        listeners[:] = kept
