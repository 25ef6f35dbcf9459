"""Reports as JSON, its schema, and back."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradverify.records import Cause, Check, Entry, Report, Sampled, Step
from gradverify.report import jsonfile

SCHEMA = json.loads((Path(jsonfile.__file__).parent / "schema.json").read_text(encoding="utf-8"))
ADDED = {"sampled", "sweep"}  # after the first writers of this version: allowed, not required


def violations(value: Any) -> list[str]:
    """Where a file breaks the published schema."""
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    return [error.json_path for error in jsonschema.Draft202012Validator(SCHEMA).iter_errors(value)]


def same(first: Any, second: Any) -> bool:
    """Equality that takes NaN for itself."""
    return repr(first) == repr(second)


@pytest.fixture
def reports(affine, gelu, quantize, evil):
    return affine, gelu, quantize, evil, Report("empty", (), meta={"numpy": "2.4", "n": [1, None, True]})


def test_what_was_written_is_read_back(reports, tmp_path):
    jsonfile.write(reports, tmp_path / "r.json")
    assert same(jsonfile.read(tmp_path / "r.json"), reports)


def test_numbers_that_json_lacks_come_back_as_they_were(passed, tmp_path):
    check = passed(computed=math.nan, bar=math.inf, expected=-math.inf, discrepancy=-0.0, resolution=5e-324)
    jsonfile.write([Report("f", (check,))], tmp_path / "r.json")
    assert same(jsonfile.read(tmp_path / "r.json")[0].checks[0], check)


def test_the_file_is_strict_json(reports, tmp_path):
    jsonfile.write(reports, tmp_path / "r.json")

    def refuse(name: str) -> None:
        raise AssertionError(name)

    json.loads((tmp_path / "r.json").read_text(encoding="ascii"), parse_constant=refuse)


def test_the_file_obeys_the_published_schema(reports):
    assert violations(json.loads(json.dumps(jsonfile.to_dict(reports)))) == []


@pytest.mark.parametrize(("path", "value"), [
    (("verdict",), "maybe"), (("schema_version",), 2), (("reports", 0, "checks", 0, "bar"), "huge"),
    (("reports", 0, "checks", 0, "shape"), [-1]), (("reports", 0, "again"), None)])
def test_the_schema_refuses_what_is_wrong(reports, path, value):
    content = json.loads(json.dumps(jsonfile.to_dict(reports)))
    *parents, last = path
    place: Any = content
    for key in parents:
        place = place[key]
    place[last] = value
    assert violations(content) != []


@pytest.mark.parametrize("record", [Report, Check, Entry, Cause, Sampled, Step])
def test_the_schema_describes_every_field(record):
    described = SCHEMA["$defs"][record.__name__.lower()]
    known = {field.name for field in dataclasses.fields(record)}
    known |= {"verdict"} if record is Report else set()
    assert set(described["properties"]) == known
    assert set(described["required"]) == known - ADDED


def test_a_file_of_the_first_writer_is_still_read(affine):
    content = jsonfile.to_dict([affine])
    for check in content["reports"][0]["checks"]:
        for name in ADDED:
            del check[name]
    assert violations(json.loads(json.dumps(content))) == []
    assert same(jsonfile.from_dict(content), (affine,))


def test_numpy_scalars_are_numbers(passed):
    check = passed(computed=np.float32(0.5), shape=(np.int64(3),), evaluations=np.int64(4))
    plain = jsonfile.to_dict([Report("f", (check,))])["reports"][0]["checks"][0]
    assert (plain["computed"], plain["shape"], plain["evaluations"]) == (0.5, [3], 4)
    assert type(plain["evaluations"]) is int


def test_the_verdict_of_the_file_is_the_worst(affine, gelu):
    assert jsonfile.to_dict([affine])["verdict"] == "pass"
    assert jsonfile.to_dict([affine, gelu])["verdict"] == "fail"
    assert jsonfile.to_dict([])["verdict"] == "inconclusive"


@pytest.mark.parametrize(("content", "message"), [
    ("{", "not JSON"), ("[]", "not a gradverify report"), ('{"schema_version": 99}', "schema_version is 99"),
    ('{"schema_version": 1, "reports": [{}]}', "damaged report"),
    ('{"schema_version": 1, "reports": [{"target": "f", "checks": [3]}]}', "damaged report")])
def test_a_file_that_is_no_report_is_refused_by_name(content, message, tmp_path):
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=f"r.json: {message}"):
        jsonfile.read(path)


def test_fields_of_a_later_writer_are_ignored(affine):
    content = jsonfile.to_dict([affine])
    content["reports"][0]["later"] = content["reports"][0]["checks"][0]["later"] = 1
    assert jsonfile.from_dict(content) == (affine,)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(affine, tmp_path, monkeypatch):
    path = tmp_path / "r.json"
    path.write_text("old")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        affine.to_json(path)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("r.json", "old")]
