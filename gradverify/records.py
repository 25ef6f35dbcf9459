"""The records every part of gradverify speaks in, and the glossary of its words.

target       the thing on trial: a forward computation and the derivative it claims
point        the values of all inputs and parameters at which a target is tried
leaf         one array of the point, named by its path: ``x``, ``params.W``, ``args[1]``
cotangent u  the upstream gradient given to a backward pass
tangent v    a direction in the space of the point
probe        one scalar question ``<u, J v>``, asked of the target and of an oracle
oracle       an independent source of ``<u, J v>``, from the forward alone; *native* ones run the
             forward in its own dtype, *foreign* ones in another arithmetic
noise        the measured rounding error of what the target computed
bar          oracle error + 8 x noise: what the comparison can resolve
resolution   bar / scale: the smallest relative error this check would have caught
regime       a variation of the point or of the upstream gradient
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from os import PathLike
from typing import Any

NOISE_FACTOR = 8.0  # measured worst ratio of true error to spread under one-ulp perturbations: 5.8
FAIL_FACTOR = 4.0  # a candidate failure lies this many bars away

MODES = ("auto", "reverse", "forward", "both")
ORACLES = ("auto", "finite", "complex", "quad", "mpmath", "certified")
SEARCHES = ("none", "quick", "deep")
DOMAINS = ("positive", "symmetric", "spd", "simplex")


class Verdict(StrEnum):
    """What a check concluded; compares equal to its lower-case name."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True)
class Options:
    """The keywords of `check`, validated once; see the README for what each one means."""

    kwargs: Mapping[str, Any] | None = None
    wrt: tuple[str, ...] | None = None
    outputs: tuple[str, ...] | None = None
    order: int = 1
    mode: str = "auto"
    reference: Callable[..., Any] | None = None
    surrogate: Any = None
    oracle: str = "auto"
    search: str = "quick"
    require: float | None = None
    tolerate: float = 0.0
    domain: Mapping[str, Any] | None = None
    draw: Callable[..., Any] | None = None
    budget: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("wrt", "outputs"):
            object.__setattr__(self, name, _names(name, getattr(self, name)))
        _one_of("mode", self.mode, MODES)
        _one_of("oracle", self.oracle, ORACLES)
        _one_of("search", self.search, SEARCHES)
        _one_of("order", self.order, (1, 2, 3))
        _at_least("tolerate", self.tolerate, 0.0, strictly=False)
        _at_least("require", self.require, 0.0, strictly=True)
        _at_least("budget", self.budget, 0, strictly=True)
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ValueError(f"seed={self.seed!r}: must be a non-negative integer")
        for name in ("reference", "draw"):
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                raise TypeError(f"{name}={getattr(self, name)!r}: must be callable")
        for leaf, region in (self.domain or {}).items():
            if not isinstance(region, tuple) and region not in DOMAINS:
                raise ValueError(f"domain[{leaf!r}]={region!r}: must be one of {DOMAINS} or a pair")


def _names(keyword: str, value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = (value,) if isinstance(value, str) else tuple(value)
    if not names or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{keyword}={value!r}: must be a leaf's name or a sequence of names")
    return names


def _one_of(keyword: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if isinstance(value, bool) or value not in allowed:
        raise ValueError(f"{keyword}={value!r}: must be one of {allowed}")


def _at_least(keyword: str, value: Any, bound: float, *, strictly: bool) -> None:
    if value is None:
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not (value > bound if strictly else value >= bound) or math.isinf(value):
        sign = ">" if strictly else ">="
        raise ValueError(f"{keyword}={value!r}: must be a finite number {sign} {bound}")


@dataclass(frozen=True)
class Estimate:
    """What an oracle returns: |value - truth| <= error, after so many forward evaluations.

    `reason` is empty for a smooth, resolved derivative; otherwise it says what was seen (``kink``,
    ``staircase``, ``domain``, ``noise``, ``nondeterministic``, ``unsupported`` ...) and `error`
    may be infinite. At a kink `slopes` holds the one-sided derivatives from the left and right. `note` says
    why an oracle is ``unsupported``: what it was that the forward did.
    """

    value: float
    error: float
    evaluations: int
    oracle: str
    reason: str = ""
    slopes: tuple[float, float] | None = None
    certified: bool = False
    note: str = ""

    @property
    def native(self) -> bool:
        """Whether the forward was run in its own dtype."""
        return self.oracle.startswith("finite")

    def covers(self, truth: float) -> bool:
        """Whether the bound holds for a known truth."""
        return abs(self.value - truth) <= self.error

    def __str__(self) -> str:
        seen = f", {self.reason}" if self.reason else ""
        seen += f": {self.note}" if self.note else ""
        return f"{self.value:.17g} +- {self.error:.1e} ({self.oracle}, {self.evaluations} forwards{seen})"


@dataclass(frozen=True)
class Entry:
    """One entry of a leaf where computed and expected differ."""

    leaf: str
    index: tuple[int, ...]
    computed: float
    expected: float

    @property
    def path(self) -> str:
        """``x[3, 1]``, or the bare leaf if it has no axes."""
        return f"{self.leaf}[{', '.join(map(str, self.index))}]" if self.index else self.leaf

    def __str__(self) -> str:
        return f"{self.path}: computed {self.computed:.6g}, expected {self.expected:.6g}"


@dataclass(frozen=True)
class Sampled:
    """Every entry of a failed leaf that was asked on its own, right or wrong, and the bar of each comparison."""

    indices: tuple[tuple[int, ...], ...]
    computed: tuple[float, ...]
    expected: tuple[float, ...]
    bar: tuple[float, ...]


@dataclass(frozen=True)
class Step:
    """A central difference of the failed probe; `h` is the change of each entry in units of its own size."""

    h: float
    quotient: float


@dataclass(frozen=True)
class Cause:
    """A named explanation of a failure; `strength` in (0, 1] orders several."""

    name: str
    text: str
    evidence: str
    remedy: str
    strength: float


@dataclass(frozen=True)
class Check:
    """One leaf (or contract) of one target, judged at one point.

    `computed` and `expected` are the probe's two scalars; `discrepancy` is their distance, `bar`
    what the comparison resolves, and `resolution` the bar in units of the leaf's scale.
    `entrywise` is the relative error any single entry could have had unseen, or None where only
    the leaf as a whole was resolved (*normwise*). `wrong_entries` of `sampled_entries` differ.
    Of a failure `entries` are the worst, `sampled` all that were asked, and `sweep` is what
    differences say about the probe at every step.
    """

    target: str
    wrt: str
    output: str
    verdict: Verdict
    order: int = 1
    mode: str = "reverse"
    regime: str = "given"
    oracle: str = ""
    dtype: str = "float64"
    shape: tuple[int, ...] = ()
    reason: str = ""
    computed: float = math.nan
    expected: float = math.nan
    discrepancy: float = math.nan
    bar: float = math.nan
    resolution: float = math.nan
    entrywise: float | None = None
    worst: Entry | None = None
    entries: tuple[Entry, ...] = ()
    wrong_entries: int = 0
    sampled_entries: int = 0
    causes: tuple[Cause, ...] = ()
    sampled: Sampled | None = None
    sweep: tuple[Step, ...] = ()
    detail: str = ""
    evaluations: int = 0
    seconds: float = 0.0
    seed: int = 0

    @property
    def ok(self) -> bool:
        """Whether this check passed."""
        return self.verdict is Verdict.PASS


@dataclass(frozen=True)
class Report:
    """The checks of one target; fails if any failed, passes if all passed."""

    target: str
    checks: tuple[Check, ...]
    notes: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0
    again: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of the checks; a report without any is inconclusive."""
        return worst_verdict([check.verdict for check in self.checks])

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return self.verdict is Verdict.PASS

    def frame(self) -> Any:
        """A `pandas.DataFrame`, one row a check."""
        return _renderer("frame").checks_frame(self.checks)

    def to_json(self, path: str | PathLike[str]) -> None:
        """Write the report as JSON, with its ``schema_version``."""
        _renderer("jsonfile").write((self,), path)

    def to_html(self, path: str | PathLike[str]) -> None:
        """Write the report as one self-contained page."""
        _renderer("html").write((self,), path)

    def __str__(self) -> str:
        return str(_renderer("text").report_text(self))

    def _repr_html_(self) -> str:
        return str(_renderer("html").fragment(self))


@dataclass(frozen=True)
class Curve:
    """Points to be joined by a line, or left as they are (`points`), with what the legend calls them."""

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    points: bool = False


@dataclass(frozen=True)
class Figure:
    """Curves over one pair of axes; a logarithmic axis leaves out what is not positive."""

    title: str
    x_label: str
    y_label: str
    curves: tuple[Curve, ...]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Sheet:
    """What a report about more than one derivative shows: a verdict, a sentence, findings, a table, figures.

    `kind` says what was looked at (``training``, ``optimizer``, ``taylor``, ``flow``), `headline` what came
    of it in one sentence. A row has a cell for each column: text, a number, a truth value or None.
    """

    kind: str
    target: str
    verdict: str
    ok: bool
    headline: str
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    findings: tuple[Cause, ...] = ()
    figures: tuple[Figure, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"rows: {row!r} has {len(row)} cells for {len(self.columns)} columns")

    def frame(self) -> Any:
        """A `pandas.DataFrame` of the table."""
        return _renderer("sheet").frame(self)

    def to_json(self, path: str | PathLike[str]) -> None:
        """Write all of it as JSON, with its ``schema_version``."""
        _renderer("sheet").write_json(self, path)

    def to_html(self, path: str | PathLike[str]) -> None:
        """Write one self-contained page; the figures need matplotlib and are left out without it."""
        _renderer("sheet").write_html(self, path)

    def __str__(self) -> str:
        return str(_renderer("sheet").text(self))

    def _repr_html_(self) -> str:
        return str(_renderer("sheet").fragment(self))


def worst_verdict(verdicts: list[Verdict]) -> Verdict:
    """FAIL before INCONCLUSIVE before PASS; nothing at all is inconclusive."""
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    if not verdicts or Verdict.INCONCLUSIVE in verdicts:
        return Verdict.INCONCLUSIVE
    return Verdict.PASS


def _renderer(name: str) -> Any:
    # By name and on demand: a record needs NumPy alone, whoever prints it needs pandas or jinja2.
    return import_module(f"gradverify.report.{name}")


class GradientMismatch(AssertionError):  # noqa: N818 - an assertion, named as pytest users read it
    """A derivative is wrong; `report` holds the evidence."""

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report


class GradientInconclusive(AssertionError):  # noqa: N818
    """A derivative could not be judged; `report` says what stood in the way."""

    def __init__(self, report: Report) -> None:
        super().__init__(str(report))
        self.report = report
