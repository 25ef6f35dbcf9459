"""Mismatches that a project knows of and keeps, each with its reason, in `pyproject.toml`.

    [[tool.gradverify.acknowledged]]
    target = "LegacyGELU"        # the target's name; * and ? stand for anything
    leaf = "x"                   # optional, as is cause = "factor"
    reason = "kept as published: the paper's own formula, see NOTES.md"

A failure of which every mismatch is acknowledged fails no test. An entry whose target was checked and is
right now is *stale*, and said to be.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradverify.records import Check, Report

_KEYS = ("target", "reason", "leaf", "cause")


@dataclass(frozen=True)
class Acknowledged:
    """A known mismatch; patterns as file names have them."""

    target: str
    reason: str
    leaf: str = "*"
    cause: str = "*"

    def speaks_of(self, target: str) -> bool:
        """Whether a target is the one meant."""
        return fnmatchcase(target, self.target)

    def covers(self, check: Check) -> bool:
        """Whether this failed check is the mismatch meant."""
        causes = [cause.name for cause in check.causes] or [check.reason]
        known = any(fnmatchcase(name, self.cause) for name in causes)
        return self.speaks_of(check.target) and fnmatchcase(check.wrt, self.leaf) and known

    def __str__(self) -> str:
        narrowed = {"leaf": self.leaf, "cause": self.cause}
        more = [f"{name} {pattern}" for name, pattern in narrowed.items() if pattern != "*"]
        return f"{', '.join([self.target, *more])} ({self.reason})"


def read_settings(text: str) -> dict[str, Any]:
    """The table ``[tool.gradverify]`` of a `pyproject.toml`; empty where there is none."""
    settings: dict[str, Any] = tomllib.loads(text).get("tool", {}).get("gradverify", {})
    return settings


def read_acknowledged(settings: Mapping[str, Any]) -> tuple[Acknowledged, ...]:
    """The entries of such a table; a ValueError names the one that makes no sense."""
    entries = settings.get("acknowledged", [])
    if not isinstance(entries, list):  # a wrong value in a file of the user's, whatever its type
        raise ValueError("acknowledged: must be a list of tables, [[tool.gradverify.acknowledged]]")  # noqa: TRY004
    return tuple(_entry(number, entry) for number, entry in enumerate(entries))


def _entry(number: int, content: Any) -> Acknowledged:
    where = f"acknowledged[{number}]"
    if not isinstance(content, dict) or not all(isinstance(value, str) for value in content.values()):
        raise ValueError(f"{where}: must be a table of strings")
    unknown = sorted(set(content) - set(_KEYS))
    if unknown:
        raise ValueError(f"{where}: no such key {unknown[0]!r}; there are {', '.join(_KEYS)}")
    for name in ("target", "reason"):
        if not content.get(name, "").strip():
            raise ValueError(f"{where}: needs a {name}")
    return Acknowledged(**content)


def acknowledging(report: Report, entries: Sequence[Acknowledged]) -> tuple[Acknowledged, ...]:
    """The entries that together cover every failed check of a report; none unless they cover all."""
    failed = [check for check in report.checks if check.verdict == "fail"]
    found = [next((entry for entry in entries if entry.covers(check)), None) for check in failed]
    return () if None in found else tuple(dict.fromkeys(entry for entry in found if entry is not None))


def stale(reports: Iterable[Report], entries: Sequence[Acknowledged]) -> tuple[Acknowledged, ...]:
    """The entries whose target was checked and had no mismatch that they cover."""
    checks = [check for report in reports for check in report.checks]
    spoken = [entry for entry in entries if any(entry.speaks_of(check.target) for check in checks)]
    return tuple(e for e in spoken if not any(c.verdict == "fail" and e.covers(c) for c in checks))
