"""What a terminal shows."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from gradverify.records import Report
from gradverify.report import sentences, text, words


def test_a_pass_is_one_line_that_says_how_well(affine):
    assert str(affine) == ("pass  Affine  x, W, b  each to 3e-15, any one entry to 2e-13  "
                           "(11 forwards, 4 backwards, 2 ms)")


def test_a_failure_names_leaf_entry_size_resolution_cause_remedy_and_how_to_see_it_again(gelu):
    cause = "derivative of another function: the erf formula under a tanh forward"
    assert str(gelu).splitlines() == [
        "FAIL  GELU  x  50 of 50 entries, worst x[3, 1]: computed 0.842183, expected 0.841372",
        "      off by 9.6e-4 in that entry, 8.0e-4 of the leaf as computed; this check resolves 2e-15",
        f"      cause  {cause} (fits the erf to 3e-16 in",
        "             every entry)",
        "      try    differentiate the tanh form, or use erf in the forward",
        "      again  gradverify again 3f9a        confirmed by complex step and finite differences"]


def test_an_inconclusive_check_says_what_stood_in_the_way_and_what_to_do(quantize):
    assert "inconclusive: the forward is a staircase here" in str(quantize)
    assert "(step" in str(quantize)
    assert "surrogate=identity" in str(quantize)


@pytest.mark.parametrize("reason", sorted(sentences.REASONS))
def test_every_reason_is_explained_with_advice(reason, undecided):
    said = text.report_text(Report("f", (undecided(reason=reason),)), width=1000)
    assert sentences.REASONS[reason][0] in said
    assert all(sentences.REASONS[reason])


def test_a_failure_nobody_asked_for_begins_with_where_it_is(failed):
    said = str(Report("f", (failed(regime="zeros in x"),)))
    assert said.startswith("FAIL  f  x  not at your point: zeros in x\n      50 of 50 entries")


def test_at_your_point_comes_before_elsewhere(failed):
    said = str(Report("f", (failed(wrt="elsewhere", regime="ties"), failed(wrt="here"))))
    assert said.index("here  50 of") < said.index("elsewhere")


def test_normwise_is_said_where_no_entry_was_resolved(passed):
    assert "to 3e-15, normwise" in str(Report("f", (passed(entrywise=None),)))
    mixed = str(Report("f", (passed(wrt="x"), passed(wrt="W", entrywise=None))))
    assert "any one entry to 2e-13 (W normwise)" in mixed


def test_a_cause_shared_by_several_leaves_is_explained_once(failed):
    said = str(Report("f", (failed(wrt="W"), failed(wrt="b"))))
    assert said.count("erf formula under") == 1
    assert "cause  as for W" in said


def test_a_leaf_that_failed_is_not_listed_as_passed(failed, passed):
    said = str(Report("f", (failed(wrt="x"), passed(wrt="x", mode="forward"), passed(wrt="W"))))
    assert "pass  f  W  to" in said


def test_second_order_and_forward_mode_are_named(failed):
    assert "x (second order, forward mode)" in str(Report("f", (failed(order=2, mode="forward"),)))


def test_a_traceback_is_cut_to_its_last_three_lines(undecided):
    trace = "Traceback\n  one\n  two\n  three\nValueError: no"
    said = str(Report("f", (undecided(reason="error", detail=trace),)))
    assert "ValueError: no" in said
    assert "three" in said
    assert "one" not in said


def test_of_many_failures_four_are_shown_and_the_rest_is_named(failed):
    said = str(Report("f", tuple(failed(wrt=f"p{i}") for i in range(9))))
    assert said.count("FAIL") == 4
    assert "and 5 more: p4, p5, p6, p7, p8" in said


@pytest.mark.parametrize("width", [60, 110])
def test_the_worst_report_fits_25_lines_and_its_width(evil, failed, undecided, passed, width):
    long = "many words \u6f22\u5b57 " * 200
    cause = replace(failed().causes[0], text=long, evidence=long, remedy=long)
    causes = [replace(cause, text=f"{i} {long}") for i in range(9)]
    checks = [failed(wrt=f"{i}{long}", causes=(causes[i],), regime=long) for i in range(9)]
    checks += [undecided(wrt=f"u{i}", reason=f"{i}{long}", detail=f"{long}\n" * 9) for i in range(9)]
    checks += [*evil.checks, passed(wrt=long)]
    report = Report(long, tuple(checks), (long,) * 9, (long,) * 9, again="x" * 10_000)
    lines = text.report_text(report, width).splitlines()
    assert len(lines) <= 25
    assert max(map(words.columns, lines)) <= width


def test_many_reasons_for_indecision_fit_25_lines_too(undecided):
    report = Report("f", tuple(undecided(wrt=f"u{i}", reason=f"r{i}", detail="a\nb\nc") for i in range(40)))
    assert len(str(report).splitlines()) <= 25


def test_names_cannot_send_control_characters_to_the_terminal(evil):
    said = str(evil)
    assert "<script>" in said
    assert all(char.isprintable() for line in said.splitlines() for char in line)


def test_nothing_checked_is_said():
    assert str(Report("f", ())) == "?     f  inconclusive: nothing was checked"


def test_notes_and_skipped_regimes_are_counted(passed):
    said = str(Report("f", (passed(),), ("a constant has nine digits", "b", "c"), ("huge", "tiny")))
    assert "2 regimes skipped" in said
    assert "note   a constant has nine digits" in said
    assert "and 1 more note" in said


def test_the_table_has_a_row_a_target_and_reads_no_markup(affine, gelu, evil):
    out = io.StringIO()
    tagged = replace(affine, target="[red]tag[/red]")
    Console(file=out, width=160).print(text.table([tagged, gelu, evil]))
    assert "[red]tag[/red]" in out.getvalue()
    assert "FAIL     GELU" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_the_summary_counts_targets_by_verdict(affine, gelu, quantize):
    assert text.summary_line([affine, gelu, gelu, quantize]) == (
        "4 targets: 1 pass, 2 fail, 1 inconclusive (6 checks, 62 ms)")
    assert text.summary_line([]) == "0 targets"
