"""What an audit finds and concludes: candidates, entries, and the report over all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from os import PathLike
from typing import Any

from gradverify.records import Report, Verdict, worst_verdict


@dataclass(frozen=True)
class Source:
    """A Python file, the name it is imported under, and the folder that makes this name importable."""

    path: str
    module: str
    root: str


@dataclass(frozen=True)
class Candidate:
    """Something that by its names carries a derivative: the methods of a class, or two functions.

    `kind` says what the derivative takes: ``layer`` and ``pair`` a cotangent, ``point`` the inputs
    of the forward. `owner` is the class, or empty for functions of the module. A `blocker` is the
    reason why it cannot be tried at all, the `remedy` what to do instead.
    """

    source: Source
    kind: str
    owner: str
    forward: str
    backward: str
    line: int
    blocker: str = ""
    remedy: str = ""
    named: str = ""  # in the symbol, where the owner has more than one derivative

    @property
    def symbol(self) -> str:
        """``module:Class`` or ``module:function``; for functions in a class ``module:Class.function``."""
        if self.named or not self.owner:
            return f"{self.source.module}:{self.named or self.forward}"
        whole = self.kind in ("layer", "training") or "." in self.kind or self.forward in WHOLE_CLASS
        return f"{self.source.module}:{self.owner}" + ("" if whole else f".{self.forward}")

    @property
    def convention(self) -> str:
        """The two names, as they stand in the code: ``forward/backward``."""
        return f"{self.forward}/{self.backward}"


WHOLE_CLASS = ("__call__", "forward", "fn", "f", "loss", "function", "value", "activation", "cost", "compute")


@dataclass(frozen=True)
class AuditEntry:
    """One candidate after its trial: a report, or the reason why there is none and what would help."""

    symbol: str
    convention: str
    report: Report | None = None
    reason: str = ""
    remedy: str = ""
    path: str = ""
    line: int = 0

    @property
    def verdict(self) -> Verdict:
        """The report's verdict; what could not be tried is inconclusive."""
        return self.report.verdict if self.report is not None else Verdict.INCONCLUSIVE

    def as_report(self) -> Report:
        """The report under the entry's symbol; one without checks for what could not be tried."""
        meta = {"symbol": self.symbol, "convention": self.convention, "path": self.path, "line": self.line}
        if self.report is None:
            remedy = (f"to try it: {self.remedy}",) if self.remedy else ()
            return Report(self.symbol, (), notes=(f"not tried: {self.reason}", *remedy), meta=meta)
        checks = tuple(replace(check, target=self.symbol) for check in self.report.checks)
        return replace(self.report, target=self.symbol, checks=checks, meta={**self.report.meta, **meta})

    def __str__(self) -> str:
        if self.report is not None:
            return str(self.as_report())
        remedy = f"\n      try    {self.remedy}" if self.remedy else ""
        return f"-     {self.symbol}  not tried: {self.reason}{remedy}"


@dataclass(frozen=True)
class AuditReport:
    """Every candidate of an audit, in the order in which the files hold them."""

    entries: tuple[AuditEntry, ...]
    seconds: float = 0.0
    interrupted: bool = False

    @property
    def verdict(self) -> Verdict:
        """FAIL if anything failed; PASS only if everything was tried and passed."""
        return worst_verdict([entry.verdict for entry in self.entries])

    @property
    def ok(self) -> bool:
        """Whether everything was tried and passed."""
        return self.verdict is Verdict.PASS

    @property
    def failed(self) -> tuple[AuditEntry, ...]:
        """The entries with a wrong derivative."""
        return self._where(lambda entry: entry.verdict is Verdict.FAIL)

    @property
    def undecided(self) -> tuple[AuditEntry, ...]:
        """The entries that were tried and could not be judged."""
        return self._where(lambda entry: entry.report is not None and entry.verdict is Verdict.INCONCLUSIVE)

    @property
    def untried(self) -> tuple[AuditEntry, ...]:
        """The entries that could not be tried, each with its reason."""
        return self._where(lambda entry: entry.report is None)

    @property
    def summary(self) -> str:
        """One line: how much of what carries a derivative was tried, and what came of it."""
        tried = len(self.entries) - len(self.untried)
        passed = tried - len(self.failed) - len(self.undecided)
        parts = [f"{passed} passed", f"{len(self.failed)} failed", f"{len(self.undecided)} inconclusive"]
        more = ", interrupted" if self.interrupted else ""
        return f"{tried} of {len(self.entries)} tried: {', '.join(parts)} ({self.seconds:.1f} s{more})"

    def _where(self, keep: Callable[[AuditEntry], bool]) -> tuple[AuditEntry, ...]:
        return tuple(entry for entry in self.entries if keep(entry))

    def reports(self) -> tuple[Report, ...]:
        """One report an entry, for whatever reads reports."""
        return tuple(entry.as_report() for entry in self.entries)

    def frame(self) -> Any:
        """A `pandas.DataFrame`, one row a check, `target` being the symbol."""
        checks = [check for report in self.reports() for check in report.checks]
        return import_module("gradverify.report.frame").checks_frame(checks)

    def to_json(self, path: str | PathLike[str]) -> None:
        """Write every entry as JSON, also those that could not be tried."""
        write = import_module("gradverify.report.jsonfile").write
        import_module("gradverify.audit.journal").write_atomically(path, lambda p: write(self.reports(), p))

    def to_html(self, path: str | PathLike[str]) -> None:
        """Write every entry into one self-contained page."""
        write = import_module("gradverify.report.html").write
        import_module("gradverify.audit.journal").write_atomically(path, lambda p: write(self.reports(), p))

    def to_csv(self, path: str | PathLike[str]) -> None:
        """Write a row an entry: symbol, convention, verdict, reason, path, line."""
        rows = [(e.symbol, e.convention, e.verdict.value if e.report else "not tried", e.reason, e.path, e.line)
                for e in self.entries]  # fmt: skip
        import_module("gradverify.audit.journal").write_rows(path, _COLUMNS, rows)

    def __str__(self) -> str:
        return "\n".join([*map(str, self.entries), self.summary])


_COLUMNS = ("symbol", "convention", "verdict", "reason", "path", "line")
