"""Markdown in which nothing that audited code says is markup."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gradverify.records import Report
from gradverify.report import markdown


def test_each_verdict_has_its_part(affine, gelu, quantize):
    said = markdown.render([affine, gelu, quantize])
    parts = [said.index(part) for part in ("### Wrong gradients", "### Not decided", "Right gradients")]
    assert parts == sorted(parts)
    assert "surrogate=identity" in said


def test_hostile_names_stay_text(evil):
    said = markdown.render([evil, replace(evil, checks=evil.checks[2:])])
    assert "<script>" not in said.replace("`<script>alert(1)</script>", "")
    assert not {"\x1b", "\u202e"} & set(said)


def test_every_row_has_the_columns_of_its_table(evil, gelu):
    pipes = evil.target + "|`|``|"
    said = markdown.render([replace(evil, target=pipes), gelu])
    rows = [line for line in said.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} <= {6, 5, 3}


@pytest.mark.parametrize(("name", "span"), [("a", "`a`"), ("a`b", "``a`b``"), ("`", "`` ` ``"), ("a|b", "`a\\|b`")])
def test_a_name_is_a_code_span_whatever_is_in_it(name, span):
    assert markdown.code(name) == span


def test_a_hundred_failures_are_listed_and_the_rest_counted(failed):
    said = markdown.render([Report("f", (failed(),) * 130)])
    assert "and 30 more" in said
