"""A project written for a test, in which nothing prepares for an audit."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradverify.audit import find
from gradverify.audit.attempt import attempt
from gradverify.audit.record import AuditEntry


def attempts(folder: Path, monkeypatch: pytest.MonkeyPatch, code: str, file: str = "code.py") -> dict[str, AuditEntry]:
    """What comes of each derivative of `code`, by its name within the file that it is written to."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    path = folder / file
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text("import numpy as np\n" + code)
    return {candidate.symbol.split(":")[1]: attempt(candidate, 0) for candidate in find(path)}
