"""Reports as strict JSON, and back: `schema.json` beside this module describes the file.

JSON has no NaN and no infinity: they are the strings ``"nan"``, ``"inf"`` and ``"-inf"``; null means
that there is no value. Within one schema version fields are only ever added, and a reader ignores
what it does not know.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any

from gradverify.records import Cause, Check, Entry, Report, Sampled, Step, Verdict, worst_verdict
from gradverify.report.files import write_whole
from gradverify.report.words import version

SCHEMA_VERSION = 1

Decode = Callable[[Any], Any]


def to_dict(reports: Sequence[Report]) -> dict[str, Any]:
    """What the file holds, as plain dicts, lists, strings and finite numbers."""
    return {"schema_version": SCHEMA_VERSION, "gradverify": version(),
            "verdict": str(worst_verdict([report.verdict for report in reports])),
            "reports": [encode(report) for report in reports]}


def write(reports: Sequence[Report], path: str | PathLike[str]) -> None:
    """Write the reports as JSON; an older file is replaced in one step."""
    write_whole(path, dumps(reports))


def dumps(reports: Sequence[Report]) -> str:
    """The text of the file."""
    return json.dumps(to_dict(reports), allow_nan=False, indent=1) + "\n"


def read(path: str | PathLike[str]) -> tuple[Report, ...]:
    """The reports of a file that `write` wrote; `ValueError` for anything else."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from error
    return from_dict(content, str(path))


def from_dict(content: Any, source: str = "content") -> tuple[Report, ...]:
    """The reports that `to_dict` encoded; `source` is named where something is wrong."""
    if not isinstance(content, dict) or "schema_version" not in content:
        raise ValueError(f"{source}: not a gradverify report, it has no schema_version")
    if content["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"{source}: schema_version is {content['schema_version']!r}, this gradverify reads "
                         f"{SCHEMA_VERSION}; use the version that wrote it")
    try:
        return tuple(_report(item) for item in content["reports"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{source}: damaged report ({type(error).__name__}: {error})") from error


def encode(value: Any) -> Any:
    """Records as dicts, and numbers that JSON has no word for as strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
        return {**fields, "verdict": str(value.verdict)} if isinstance(value, Report) else fields
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    return _encode_one(value)


def _encode_one(value: Any) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        number = float(value)
        return number if math.isfinite(number) else str(number)
    return str(value)


def _build(record: type, content: Mapping[str, Any], decode: Mapping[str, Decode]) -> Any:
    known = {field.name for field in dataclasses.fields(record)}
    return record(**{name: decode.get(name, _same)(item) for name, item in content.items() if name in known})


def _same(value: Any) -> Any:
    return value


def _maybe(decode: Decode) -> Decode:
    return lambda value: None if value is None else decode(value)


def _several(decode: Decode) -> Decode:
    return lambda values: tuple(decode(value) for value in values)


def _entry(content: Mapping[str, Any]) -> Any:
    return _build(Entry, content, {"index": tuple, "computed": float, "expected": float})


def _cause(content: Mapping[str, Any]) -> Any:
    return _build(Cause, content, {"strength": float})


def _sampled(content: Mapping[str, Any]) -> Any:
    return _build(Sampled, content, {**dict.fromkeys(("computed", "expected", "bar"), _several(float)),
                                     "indices": _several(tuple)})


def _step(content: Mapping[str, Any]) -> Any:
    return _build(Step, content, {"h": float, "quotient": float})


def _check(content: Mapping[str, Any]) -> Any:
    reals = ("computed", "expected", "discrepancy", "bar", "resolution", "seconds")
    return _build(Check, content, {
        **dict.fromkeys(reals, float), "entrywise": _maybe(float), "verdict": Verdict, "shape": tuple,
        "worst": _maybe(_entry), "entries": _several(_entry), "causes": _several(_cause),
        "sampled": _maybe(_sampled), "sweep": _several(_step)})


def _report(content: Mapping[str, Any]) -> Any:
    return _build(Report, content, {"checks": _several(_check), "notes": tuple, "skipped": tuple,
                                    "seconds": float, "meta": dict})
