"""Worker processes with a time limit: what crashes, exits or hangs loses its own entry and no other."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from gradverify.audit.journal import Journal
from gradverify.audit.record import AuditEntry, Candidate
from gradverify.audit.worker import decode_entry, encode_candidate

Progress = Callable[[int, int, AuditEntry], None]

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # the workers are the parallelism


@dataclass
class Worker:
    """A process that tries candidates one after the other; replaced when it dies."""

    process: subprocess.Popen[str] | None = field(default=None)
    memory: float = 4.0  # GiB that its data may take

    def ask(self, candidate: Candidate, seed: int, timeout: float) -> AuditEntry:
        """The entry of a candidate, also if the process does not survive it."""
        process = self._running()
        order = {"candidate": encode_candidate(candidate), "seed": seed, "memory": self.memory}
        expired = threading.Event()
        timer = threading.Timer(timeout, _expire, (expired, process))
        timer.daemon = True
        timer.start()
        try:
            answer = _exchange(process, json.dumps(order))
        finally:
            timer.cancel()
        if answer is not None:
            entry, stays = answer
            if not stays:  # what it left running would take the time of the next one
                self.stop()
            return entry
        self.stop()
        why = f"it did not end within {timeout:g} s" if expired.is_set() else _death(process)
        return unreported(candidate, why)

    def _running(self) -> subprocess.Popen[str]:
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                # -P: a random.py in the working folder must not stand in for the library's.
                [sys.executable, "-P", "-m", "gradverify.audit.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                encoding="utf-8",
                env=_environment(),
                start_new_session=True,
            )
            _await_ready(self.process)
        return self.process

    def stop(self) -> None:
        """End the process and whatever it started; an interrupted run and its own thread may both ask for that."""
        process, self.process = self.process, None
        if process is None:
            return
        _kill(process)
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        process.wait()


def _await_ready(process: subprocess.Popen[str]) -> None:
    """Wait for the word of a worker that has started; one that does not start in a minute never will."""
    assert process.stdout is not None
    timer = threading.Timer(_START, _kill, (process,))
    timer.daemon = True
    timer.start()
    process.stdout.readline()
    timer.cancel()


_START = 60.0


def _expire(expired: threading.Event, process: subprocess.Popen[str]) -> None:
    expired.set()
    _kill(process)


def unreported(candidate: Candidate, reason: str) -> AuditEntry:
    """The entry of a candidate without a report."""
    return AuditEntry(
        symbol=candidate.symbol,
        convention=candidate.convention,
        reason=reason,
        remedy=candidate.remedy,
        path=candidate.source.path,
        line=candidate.line,
    )


def _environment() -> dict[str, str]:
    # The worker finds this very package, installed or not, whatever the code under audit puts on its path.
    here = Path(__file__).resolve().parents[2]
    paths = [str(here), *filter(None, [os.environ.get("PYTHONPATH")])]
    limits = {name: os.environ.get(name, "1") for name in _THREADS}
    return {**os.environ, **limits, "PYTHONPATH": os.pathsep.join(paths), "MPLBACKEND": "Agg"}


def _exchange(process: subprocess.Popen[str], line: str) -> tuple[AuditEntry, bool] | None:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(line + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        content = json.loads(answer) if answer else None
        return (decode_entry(content["entry"]), content["stays"]) if content else None
    except (OSError, ValueError, KeyError, TypeError):  # a broken pipe, or an answer cut short
        return None


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(OSError):
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()


def _death(process: subprocess.Popen[str]) -> str:
    code = process.returncode
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"it ended its process by {signal.Signals(-code).name}"
    return f"it ended its process with exit code {code}"


def default_jobs() -> int:
    """As many workers as this process may use cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Plan:
    """How an audit runs: processes here or a cluster, what each candidate may use, and what is known already."""

    jobs: int = 1
    seed: int = 0
    timeout: float = 60.0
    memory: float = 4.0
    dask: Any = None
    journal: Journal | None = None


def run(
    candidates: Sequence[Candidate], plan: Plan, progress: Progress | None = None
) -> tuple[tuple[AuditEntry, ...], bool]:
    """The entries of all candidates in their order, and whether Ctrl-C cut the run short."""
    entries = {i: unreported(c, c.blocker) for i, c in enumerate(candidates) if c.blocker}
    if plan.journal is not None:
        entries |= plan.journal.entries(candidates, plan.seed)
    open_ = [i for i in range(len(candidates)) if i not in entries]
    source = _on_cluster(candidates, open_, plan) if plan.dask is not None else in_processes(candidates, open_, plan)
    try:
        for index, entry in source:
            entries[index] = entry
            if plan.journal is not None:
                plan.journal.add(candidates[index], plan.seed, entry)
            _tell(progress, len(entries), len(candidates), entry)
    except KeyboardInterrupt:
        source.close()
    rest = {i: unreported(c, "interrupted by Ctrl-C") for i, c in enumerate(candidates) if i not in entries}
    return tuple({**rest, **entries}[i] for i in range(len(candidates))), bool(rest)


def _on_cluster(
    candidates: Sequence[Candidate], indices: Sequence[int], plan: Plan
) -> Generator[tuple[int, AuditEntry], None, None]:
    # By name: the cluster's tasks are this module's workers.
    cluster = import_module("gradverify.audit.cluster")
    yield from cluster.on_cluster(candidates, indices, plan.dask, plan.seed, plan.timeout, plan.memory)


def in_processes(
    candidates: Sequence[Candidate], indices: Sequence[int], plan: Plan
) -> Generator[tuple[int, AuditEntry], None, None]:
    """Entries as they end, from worker processes on this machine."""
    workers = [Worker(memory=plan.memory) for _ in range(max(1, min(plan.jobs, len(indices))))]
    idle: queue.SimpleQueue[Worker] = queue.SimpleQueue()
    for worker in workers:
        idle.put(worker)

    def one(index: int) -> tuple[int, AuditEntry]:
        worker = idle.get()
        try:
            return index, worker.ask(candidates[index], plan.seed, plan.timeout)
        finally:
            idle.put(worker)

    with ThreadPoolExecutor(len(workers)) as executor:
        futures = [executor.submit(one, i) for i in indices]
        try:
            yield from (future.result() for future in as_completed(futures))
        finally:
            executor.shutdown(wait=False, cancel_futures=True)
            for worker in workers:
                worker.stop()


def _tell(progress: Progress | None, done: int, total: int, entry: AuditEntry) -> None:
    if progress is not None:
        progress(done, total, entry)
