"""The same audit on a Dask cluster that exists already: a task a candidate, each in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gradverify.audit.pool import Worker
from gradverify.audit.record import AuditEntry, Candidate
from gradverify.audit.worker import decode_candidate, decode_entry, encode_candidate, encode_entry

_RETRIES = 3  # of a task whose Dask worker died under it


def on_cluster(
    candidates: Sequence[Candidate], indices: Sequence[int], address: Any, seed: int, timeout: float, memory: float
) -> Iterator[tuple[int, AuditEntry]]:
    """Entries as they end, each once, whatever happens to the workers of the cluster.

    `address` is that of a scheduler (``tcp://host:8786``) or a `distributed.Client`. The files have
    to be where they are here on every machine.
    """
    from distributed import Client, as_completed

    client = address if isinstance(address, Client) else Client(address)
    try:
        futures = {
            client.submit(
                try_remotely, encode_candidate(candidates[i]), seed, timeout, memory, tuple(sys.path),
                key=f"gradverify-{i}-{id(candidates)}", retries=_RETRIES, pure=False,
            ): i
            for i in indices
        }  # fmt: skip
        for future in as_completed(futures):
            i = futures[future]
            yield i, _entry_of(future, candidates[i])
    finally:
        if client is not address:
            client.close()


def _entry_of(future: Any, candidate: Candidate) -> AuditEntry:
    try:
        return decode_entry(future.result())
    except Exception as error:  # the cluster's own failure is the entry's reason
        reason = f"the cluster lost it: {type(error).__name__}: {error}"
        return AuditEntry(
            candidate.symbol, candidate.convention, reason=reason, path=candidate.source.path, line=candidate.line
        )


def try_remotely(
    content: dict[str, Any], seed: int, timeout: float, memory: float, path: tuple[str, ...]
) -> dict[str, Any]:
    """Runs on a worker of the cluster, and hands the candidate to a process that may die."""
    sys.path.extend(entry for entry in path if entry not in sys.path)
    worker = Worker(memory=memory)
    try:
        return encode_entry(worker.ask(decode_candidate(content), seed, timeout))
    finally:
        worker.stop()


def each(function: Callable[[Any], Any], arguments: Sequence[Any], address: Any) -> Iterator[Any]:
    """``function(argument)`` for each, in their order; where a worker of the cluster dies, another does its tasks."""
    from distributed import Client

    client = address if isinstance(address, Client) else Client(address)
    futures = [client.submit(function, argument, retries=_RETRIES, pure=False) for argument in arguments]
    try:
        yield from (future.result() for future in futures)
    finally:
        client.cancel(futures)
        if client is not address:
            client.close()


Runner = Callable[[Sequence[int]], Iterator[tuple[int, AuditEntry]]]
