"""The process in which code under audit runs: candidates in, entries out, one JSON line each.

Started by `gradverify.audit.pool` as ``python -m gradverify.audit.worker``. The code under audit
never sees the pipes: standard input and output are replaced before anything of it is imported.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Mapping
from typing import Any, TextIO

from gradverify.audit.record import AuditEntry, Candidate, Source

try:
    import resource
except ImportError:  # not on Windows
    resource = None  # type: ignore[assignment]


def main() -> None:
    """Answer every line until the input ends."""
    commands, answers = _take_pipes()
    from gradverify.audit.attempt import attempt  # after the pipes are safe: this loads numpy and more

    answers.write("ready\n")  # the time that this process took to start is no candidate's
    answers.flush()
    before = threading.active_count()
    for line in commands:
        order = json.loads(line)
        _limit_memory(order.get("memory"))
        entry = attempt(decode_candidate(order["candidate"]), order["seed"])
        stays = threading.active_count() <= before
        answers.write(json.dumps({"entry": encode_entry(entry), "stays": stays}) + "\n")
        answers.flush()
    os._exit(0)  # threads and atexit handlers of audited code have no say in when this ends


def _limit_memory(gibibytes: float | None) -> None:
    """A larger allocation is a MemoryError of the code that asks for it, and no trouble for the machine."""
    if gibibytes is None or resource is None:
        return
    wanted = int(gibibytes * 2**30)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def _take_pipes() -> tuple[TextIO, TextIO]:
    commands = os.fdopen(os.dup(0), "r", encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    sys.argv = [""]
    return commands, answers


def encode_candidate(candidate: Candidate) -> dict[str, Any]:
    """A candidate as plain values."""
    return {**vars(candidate), "source": vars(candidate.source)}


def decode_candidate(content: Mapping[str, Any]) -> Candidate:
    """The candidate that `encode_candidate` encoded."""
    return Candidate(**{**content, "source": Source(**content["source"])})


def encode_entry(entry: AuditEntry) -> dict[str, Any]:
    """An entry as plain values, its report in the format of the JSON reports."""
    from gradverify.report.jsonfile import to_dict

    return {**vars(entry), "report": None if entry.report is None else to_dict([entry.report])}


def decode_entry(content: Mapping[str, Any]) -> AuditEntry:
    """The entry that `encode_entry` encoded."""
    from gradverify.report.jsonfile import from_dict

    report = None if content["report"] is None else from_dict(content["report"])[0]
    return AuditEntry(**{**content, "report": report})


if __name__ == "__main__":
    main()
