"""Audit code that nobody prepared: find what carries a derivative, infer inputs, check it isolated.

`sources` turns paths into files, `discovery` reads their syntax, `pool` hands every candidate to a
worker process, and there `attempt` imports it, finds inputs (`inputs`, `search`) and calls the engine.
"""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

from gradverify.audit.record import AuditEntry, AuditReport, Candidate

__all__ = ["AuditEntry", "AuditReport", "Candidate", "audit", "find"]


def audit(
    *paths_or_modules: str | os.PathLike[str] | ModuleType,
    jobs: int | None = None,
    dask: Any = None,
    seed: int = 0,
    timeout: float = 60.0,
    memory: float = 4.0,
    shard: str | None = None,
    journal: str | os.PathLike[str] | None = None,
    progress: Any = None,
) -> AuditReport:
    """Every derivative found in files, folders, packages or modules, and what came of checking it.

    Each candidate is tried in a worker process, `jobs` of them at a time (default: one per core),
    for at most `timeout` seconds and `memory` GiB; or on the Dask cluster at the address `dask`.
    ``shard="2/8"`` takes the second of eight equal parts. Entries go into the file `journal` as
    they end: a run that was cut short takes them from there. ``progress(done, total, entry)`` is
    called after each. A path or module that does not exist is a ValueError; finding nothing gives a
    report without entries.
    """
    if not paths_or_modules:
        raise ValueError("audit(): no path or module given")
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs={jobs!r}: must be at least 1")
    if timeout <= 0:
        raise ValueError(f"timeout={timeout!r}: must be positive")
    if memory <= 0:
        raise ValueError(f"memory={memory!r}: must be positive")
    from gradverify.audit.journal import Journal
    from gradverify.audit.pool import Plan, default_jobs, run

    started = time.monotonic()
    kept = Journal(Path(journal)) if journal is not None else None
    plan = Plan(jobs or default_jobs(), seed, timeout, memory, dask, kept)
    entries, interrupted = run(part_of(find(*paths_or_modules), shard), plan, progress)
    if kept is not None and not interrupted:
        kept.end()
    return AuditReport(entries, time.monotonic() - started, interrupted)


def part_of(candidates: tuple[Candidate, ...], shard: str | None) -> tuple[Candidate, ...]:
    """The k-th of n parts for ``"k/n"``: every n-th candidate, so that the parts are equal and make up the whole.

    >>> part_of(("a", "b", "c"), "2/2")
    ('b',)
    """
    if shard is None:
        return candidates
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError(f"shard={shard!r}: must be k/n with 1 <= k <= n, as 2/8")
    return candidates[int(match[1]) - 1 :: int(match[2])]


def find(*paths_or_modules: str | os.PathLike[str] | ModuleType) -> tuple[Candidate, ...]:
    """What carries a derivative by its names, without importing any of it."""
    from gradverify.audit.discovery import find_candidates
    from gradverify.audit.sources import find_sources

    return tuple(c for source in find_sources(paths_or_modules) for c in find_candidates(source))


class _AuditModule(ModuleType):
    """`gv.audit` names the function; importing this package would put the module in its place."""

    def __call__(self, *paths_or_modules: Any, **options: Any) -> AuditReport:
        return audit(*paths_or_modules, **options)


sys.modules[__name__].__class__ = _AuditModule
