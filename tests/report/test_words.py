"""Numbers and names, made short and harmless."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradverify.report import words

SIZES = st.floats(1e-300, 1e300)


@given(SIZES)
def test_a_printed_bound_is_never_better_than_the_bound(value):
    printed = float(words.bound(value))
    assert value * (1 - 1e-11) <= printed <= 2.01 * value


@pytest.mark.parametrize(("value", "printed"), [
    (1e-6, "1e-6"), (9.4e-6, "1e-5"), (0.0, "0"), (math.inf, "inf"),
    (2.0, "2"), (0.021, "0.03"), (5e-324, "5e-324")])
def test_bounds_print_with_one_digit(value, printed):
    assert words.bound(value) == printed


@pytest.mark.parametrize(("value", "printed"), [
    (9.6e-4, "9.6e-4"), (0.00149, "0.15 %"), (2.0, "200 %"), (300.0, "3.0e2"), (0.0, "0"), (math.inf, "inf")])
def test_relative_sizes_print_with_two_digits(value, printed):
    assert words.relative(value) == printed


@given(st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_two_different_numbers_print_differently(first, second):
    printed = words.two_numbers(first, second)
    assert (printed[0] != printed[1]) == (f"{first:.17g}" != f"{second:.17g}")


def test_one_digit_more_is_printed_than_it_takes_to_see_the_difference():
    assert words.two_numbers(0.12345678, 0.12345691) == ("0.12345678", "0.12345691")


def test_terminal_sequences_vanish_and_their_text_stays():
    assert words.clean("\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07") == "red link"


@given(st.text())
def test_clean_text_is_one_line_of_visible_characters(text):
    cleaned = words.clean(text)
    assert len(cleaned.splitlines()) <= 1
    assert not {"\x1b", "\u202e", "\u2066", "\x00"} & set(cleaned)
    cleaned.encode("utf-8")


def test_different_hidden_characters_stay_different():
    assert words.clean("a\u202eb") != words.clean("ab")


@given(st.text(), st.integers(8, 60))
def test_cut_text_fits_its_columns(text, most):
    assert words.columns(words.cut(text, most)) <= most


def test_a_cut_name_keeps_both_ends():
    cut = words.cut("package." + "x" * 500 + ".forward", 40)
    assert cut.startswith("package.")
    assert cut.endswith(".forward")


@pytest.mark.parametrize(("seconds", "printed"), [
    (0.0, "1 ms"), (0.0021, "2 ms"), (1.52, "1.5 s"), (180, "3 min")])
def test_durations_are_short(seconds, printed):
    assert words.duration(seconds) == printed
