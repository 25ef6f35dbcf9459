"""What a run was told: command line, ini values, and the project's own table in `pyproject.toml`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from gradverify.acknowledged import Acknowledged

POLICIES = ("fail", "xfail", "warn")
FILES = ("json", "html")
READ: dict[str, Callable[[str], Any]] = {  # the options that make sense as one word of an ini file
    "order": int, "mode": str, "oracle": str, "search": str, "require": float, "tolerate": float,
    "budget": int, "seed": int,
}
LIMITS: dict[str, tuple[Callable[[str], Any], str]] = {
    "seconds": (float, "seconds that one check may take"),
    "run_budget": (int, "forward evaluations that the whole run may spend, in each process"),
    "run_seconds": (float, "seconds after the start of the run from which on no check goes on"),
}


@dataclass(frozen=True, eq=False)  # nobody compares two, and every start of pytest would pay for it
class Settings:
    """All of it, validated."""

    policy: str = "fail"
    strict: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    acknowledged: tuple[Acknowledged, ...] = ()
    audit: tuple[str, ...] = ()
    shadow: bool = False

    def __str__(self) -> str:
        """Those that differ from the defaults, for the header of a run."""
        policy = {} if self.policy == "fail" else {"inconclusive": self.policy}
        words = [f"{name}={value}" for name, value in {**policy, **self.options, **self.limits}.items()]
        words += ["strict"] * self.strict + ["shadow"] * self.shadow
        return ", ".join(words)


def add_options(parser: pytest.Parser) -> None:
    """Long options for what a run does, ini values for how every check is done."""
    group = parser.getgroup("gradverify", "gradients")
    for kind in FILES:
        group.addoption(f"--gradverify-{kind}", metavar="PATH",
                        help=f"write every gradient report of this run to PATH as {kind.upper()}")
    group.addoption("--gradverify-audit", metavar="PACKAGE", action="append", default=[],
                    help="find every derivative in a package, folder or file, and make each a test")
    group.addoption("--gradverify-shadow", action="store_true",
                    help="recheck every call of gradcheck, check_grads and check_grad; fails no test")
    group.addoption("--gradverify-shadow-json", metavar="PATH",
                    help="write what the recheck found to PATH as JSON; implies --gradverify-shadow")
    group.addoption("--gradverify-strict", action="store_true",
                    help="what is inconclusive or was not audited fails, and so do stale acknowledgements")
    _add_ini(parser)


def _add_ini(parser: pytest.Parser) -> None:
    policies = " | ".join(POLICIES)
    parser.addini("gradverify_inconclusive", f"what an inconclusive verdict does: {policies}", default="")
    parser.addini("gradverify_strict", "as --gradverify-strict", type="bool", default=False)
    for name in READ:
        parser.addini(f"gradverify_{name}", f"default of `{name}=` for every assert_gradients", default="")
    for name, (_, text) in LIMITS.items():
        parser.addini(f"gradverify_{name}", text, default="")


def read(config: pytest.Config) -> Settings:
    """The settings of a run; a `pytest.UsageError` names the one that makes no sense."""
    project, acknowledged = _of_project(config.rootpath / "pyproject.toml")
    given = config.getoption
    return Settings(
        policy=_policy(config, project), strict=_strict(config, project), options=_options(config, project),
        limits=_limits(config, project), files=_files(config), acknowledged=acknowledged,
        audit=tuple(given("--gradverify-audit")),
        shadow=bool(given("--gradverify-shadow") or given("--gradverify-shadow-json")),
    )  # fmt: skip


def _of_project(file: Path) -> tuple[Mapping[str, Any], tuple[Acknowledged, ...]]:
    """The project's own table and the mismatches it acknowledges."""
    if not file.is_file() or "tool.gradverify" not in (text := file.read_text(encoding="utf-8")):
        return {}, ()
    from gradverify.acknowledged import read_acknowledged, read_settings

    try:
        project = read_settings(text)
        return project, read_acknowledged(project)
    except ValueError as error:
        raise pytest.UsageError(f"pyproject.toml: tool.gradverify.{error}") from error


def _policy(config: pytest.Config, project: Mapping[str, Any]) -> str:
    policy = str(config.getini("gradverify_inconclusive") or project.get("inconclusive", "fail"))
    if policy not in POLICIES:
        raise pytest.UsageError(f"gradverify_inconclusive={policy!r}: must be one of {POLICIES}")
    return policy


def _strict(config: pytest.Config, project: Mapping[str, Any]) -> bool:
    asked = config.getoption("--gradverify-strict") or config.getini("gradverify_strict")
    return bool(asked or project.get("strict", False))


def _options(config: pytest.Config, project: Mapping[str, Any]) -> dict[str, Any]:
    options = {name: value for name in READ if (value := _value(config, project, name, READ[name])) is not None}
    if options:  # the records are loaded for those alone who set something
        validate(options, "ini value gradverify_", pytest.UsageError)
    return options


def _limits(config: pytest.Config, project: Mapping[str, Any]) -> dict[str, Any]:
    found = {name: _value(config, project, name, kind) for name, (kind, _) in LIMITS.items()}
    for name, value in found.items():
        if value is not None and not value > 0:
            raise pytest.UsageError(f"ini value gradverify_{name}={value!r}: must be > 0")
    return {name: value for name, value in found.items() if value is not None}


def _value(config: pytest.Config, project: Mapping[str, Any], name: str, kind: Callable[[str], Any]) -> Any:
    """The ini value, else the project's, else None."""
    written = config.getini(f"gradverify_{name}")
    text = str(project.get(name, "")) if written == "" else str(written)
    try:
        return kind(text) if text else None
    except ValueError as error:
        raise pytest.UsageError(f"ini value gradverify_{name}={text!r}: {error}") from error


def validate(options: Mapping[str, Any], where: str, problem: Callable[[str], BaseException]) -> None:
    """Raise the problem where the options of a check make no sense."""
    from gradverify.records import Options

    try:
        Options(**options)
    except (TypeError, ValueError) as error:
        raise problem(f"{where}{error}") from error


def _files(config: pytest.Config) -> dict[str, Path]:
    given = {kind: config.getoption(f"--gradverify-{kind}") for kind in (*FILES, "shadow-json")}
    paths = {kind: config.invocation_params.dir / name for kind, name in given.items() if name}
    for kind, path in paths.items():
        if path.is_dir():
            raise pytest.UsageError(f"--gradverify-{kind}={path}: is a directory")
    return paths
