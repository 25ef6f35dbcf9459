"""Entries kept on disk while an audit runs, so that one that was cut short goes on where it stopped."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradverify.audit.record import AuditEntry, Candidate
from gradverify.audit.worker import decode_entry, encode_candidate, encode_entry


@dataclass(frozen=True)
class Journal:
    """A file with one finished entry a line; a line that was cut short is none."""

    path: Path

    def entries(self, candidates: Sequence[Candidate], seed: int) -> dict[int, AuditEntry]:
        """What is known already of these candidates, their files and the seed being the same."""
        known = dict(self._lines())
        keys = [key_of(candidate, seed) for candidate in candidates]
        return {i: decode_entry(known[key]) for i, key in enumerate(keys) if key in known}

    def add(self, candidate: Candidate, seed: int, entry: AuditEntry) -> None:
        """Append an entry; one write, so that two processes never mix their lines."""
        line = json.dumps([key_of(candidate, seed), encode_entry(entry)]) + "\n"
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line)

    def end(self) -> None:
        """Remove the file: the report holds everything."""
        self.path.unlink(missing_ok=True)

    def _lines(self) -> list[tuple[str, dict[str, object]]]:
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                key, content = json.loads(line)
            except ValueError:  # the process ended in the middle of this line
                continue
            found.append((key, content))
        return found


def key_of(candidate: Candidate, seed: int) -> str:
    """What an entry depends on: the candidate, the seed, and the text of its file."""
    try:
        text = Path(candidate.source.path).read_bytes()
    except OSError:
        text = b""
    content = json.dumps([encode_candidate(candidate), seed]).encode() + text
    return hashlib.sha256(content).hexdigest()[:24]


def write_atomically(path: str | os.PathLike[str], write: Callable[[Path], None]) -> None:
    """Let `write` fill a file beside the wanted one, then put it in its place: whole, or not at all."""
    final = Path(path)
    temporary = final.with_name(f".{final.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        temporary.replace(final)
    finally:
        temporary.unlink(missing_ok=True)


def write_rows(path: str | os.PathLike[str], columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table as CSV; a cell that a spreadsheet would take for a formula is quoted."""

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(columns)
            table.writerows([_cell(value) for value in row] for row in rows)

    write_atomically(path, write)


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
