"""Names made harmless and numbers made short: what text, tables and pages share.

Names, messages and regimes come from the code on trial. `clean` makes any of them one line of
visible characters; escaping for HTML is the template engine's part.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable
from decimal import ROUND_UP, Context, Decimal
from importlib import metadata

_SEQUENCES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]")
_HIDDEN = frozenset({"Cc", "Cf", "Cs"})
_JOINERS = "\u200c\u200d"  # Persian and Indic names, and emoji, need these; they reorder nothing
_LINE_BREAKS = re.compile(r"[\s\u2028\u2029\x85]+")
_READ_AT_MOST = 40_000  # a traceback may be megabytes; nobody prints more than this of one message
FEWEST_DIGITS, MOST_DIGITS = 6, 17


def version() -> str:
    """The installed version of gradverify."""
    try:
        return metadata.version("gradverify")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def clean(text: object) -> str:
    r"""One line without terminal sequences; what else is invisible shows as its escape.

    >>> clean("\x1b[31mred\x1b[0m\nname\u202e")
    'red name\\u202e'
    """
    plain = _SEQUENCES.sub("", str(text)[:_READ_AT_MOST])
    return "".join(_visible(char) for char in _LINE_BREAKS.sub(" ", plain)).strip()


def _visible(char: str) -> str:
    if char in _JOINERS or unicodedata.category(char) not in _HIDDEN:
        return char
    return char.encode("unicode_escape").decode("ascii")


def clean_lines(text: str, most: int) -> list[str]:
    """The lines of a message, cleaned; of a longer one the last, where a traceback has its point."""
    lines = [clean(line) for line in str(text)[-_READ_AT_MOST:].splitlines()]
    return [line for line in lines if line][-most:]


def columns(text: str) -> int:
    """How many terminal columns the text takes: wide characters take two, combining marks none."""
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def cut(text: object, most: int) -> str:
    """The cleaned text in at most so many columns; the middle goes, names differ at their ends.

    >>> cut("package.module:Outer.inner.forward", 20)
    'package...er.forward'
    """
    whole = clean(text)
    if columns(whole) <= most:
        return whole
    tail = (most - 3) * 3 // 5
    return f"{_fitting(whole, most - 3 - tail)}...{_fitting(whole[::-1], tail)[::-1]}"


def cut_end(text: str, most: int) -> str:
    """The text in at most so many columns; the end goes."""
    return text if columns(text) <= most else _fitting(text, most - 3) + "..."


def _fitting(text: str, most: int) -> str:
    used = 0
    for position, char in enumerate(text):
        used += _columns(char)
        if used > most:
            return text[:position]
    return text


def bound(value: float) -> str:
    """An upper bound to one digit, rounded up: a claim of accuracy never gets better by printing.

    >>> bound(2.01e-15), bound(1e-6), bound(0.0)
    ('3e-15', '1e-6', '0')
    """
    if value == 0.0 or not math.isfinite(value):
        return _tidy(f"{value:g}")
    # Twelve digits: the decimal that was meant by 0.1, not the binary number just above it.
    rounded = Context(prec=1, rounding=ROUND_UP).create_decimal(f"{value:.12g}")
    return f"{float(rounded):g}" if abs(rounded) >= Decimal("0.01") else _tidy(f"{rounded:e}")


def relative(value: float) -> str:
    """A relative size to two digits: ``9.6e-4``, ``0.15 %``, ``200 %``."""
    if not 1e-3 <= abs(value) < 100:
        return _tidy(f"{value:.1e}") if value else "0"
    return f"{float(f'{100 * value:.2g}'):g} %"


def short(value: float) -> str:
    """A number to two digits, with an exponent only where it helps."""
    return _tidy(f"{value:.2g}")


def _tidy(number: str) -> str:
    mantissa, mark, exponent = number.partition("e")
    return f"{mantissa}e{int(exponent)}" if mark else mantissa


def two_numbers(computed: float, expected: float, *, padded: bool = False) -> tuple[str, str]:
    """Both with as many digits as it takes to see that they differ, and one more; `padded` with zeros.

    >>> two_numbers(0.842183, 0.8413720004)
    ('0.842183', '0.841372')
    >>> two_numbers(1.0, 1.00000001)
    ('1', '1.00000001')
    """
    digits, form = FEWEST_DIGITS, "#" if padded else ""
    while digits < MOST_DIGITS and f"{computed:.{digits - 1}g}" == f"{expected:.{digits - 1}g}":
        digits += 1
    return f"{computed:{form}.{digits}g}", f"{expected:{form}.{digits}g}"


def duration(seconds: float) -> str:
    """``2 ms``, ``1.5 s``, ``3 min``."""
    if seconds < 0.9995:
        return f"{max(1, round(1000 * seconds))} ms"
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{round(seconds / 60)} min"


def counted(number: int, noun: str) -> str:
    """``1 forward``, ``11 forwards``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def listed(names: Iterable[str], room: int) -> str:
    """Distinct names in order, as many as fit, then how many more."""
    distinct = list(dict.fromkeys(names))
    shown: list[str] = []
    for name in distinct:
        if shown and columns(", ".join([*shown, name])) > room:
            break
        shown.append(name)
    rest = len(distinct) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def joined(words: Iterable[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *first, last = list(words) or [""]
    return f"{', '.join(first)} and {last}" if first else last
