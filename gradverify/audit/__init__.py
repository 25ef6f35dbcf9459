"""Audit code that nobody prepared: find what carries a derivative, infer inputs, check it isolated.

`sources` turns paths into files, `discovery` reads their syntax, `pool` hands every candidate to a
worker process, and there `attempt` imports it, finds inputs (`inputs`, `search`) and calls the engine.
"""

from __future__ import annotations

import os
import sys
import time
from types import ModuleType
from typing import Any

from gradverify.audit.record import AuditEntry, AuditReport, Candidate

__all__ = ["AuditEntry", "AuditReport", "Candidate", "audit", "find"]


def audit(
    *paths_or_modules: str | os.PathLike[str] | ModuleType,
    jobs: int | None = None,
    seed: int = 0,
    timeout: float = 60.0,
    progress: Any = None,
) -> AuditReport:
    """Every derivative found in files, folders, packages or modules, and what came of checking it.

    Each candidate is tried in a worker process, `jobs` of them at a time (default: one per core),
    for at most `timeout` seconds. ``progress(done, total, entry)`` is called after each. A path or
    module that does not exist is a ValueError; finding nothing gives a report without entries.
    """
    if not paths_or_modules:
        raise ValueError("audit(): no path or module given")
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs={jobs!r}: must be at least 1")
    if timeout <= 0:
        raise ValueError(f"timeout={timeout!r}: must be positive")
    from gradverify.audit.pool import default_jobs, run

    started = time.monotonic()
    entries, interrupted = run(find(*paths_or_modules), jobs or default_jobs(), seed, timeout, progress)
    return AuditReport(entries, time.monotonic() - started, interrupted)


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
