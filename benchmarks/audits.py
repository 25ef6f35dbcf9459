"""`gradverify audit` on repositories and packages that nobody prepared: what of their derivatives was tried, and what came of it.

    python benchmarks/audits.py run SET FOLDER_OR_PACKAGE ...  audits each, keeps its entries as JSON, writes the tables
    python benchmarks/audits.py write                          writes the tables again from the entries that are kept

SET is one of those below: how far a place was known to whoever built the audit when it was measured. A place is a checked-out repository, a folder of an unpacked package, or the name of an installed one. Each gets at most
SECONDS of wall clock; what is left open then is counted as such. Entries go to ``build/audits/SET/``, the tables to
reports/audits/README.md; what is known of each failure by hand stands in reports/audits/by-hand.toml and is joined to it:
a failure without such a line is counted as not looked at. Nothing is configured for any of them.
"""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import time
import tomllib
from collections import Counter
from functools import cache
from pathlib import Path

import gradverify as gv

ROOT = Path(__file__).parents[1]
KEPT, REPORT = ROOT / "build/audits", ROOT / "reports/audits/README.md"
SECONDS, JOBS, TIMEOUT = 600, 1, 120

SETS = {
    "known": "Repositories that the audit was built on",
    "second": "Repositories that were measured untouched first and then built on",
    "third": "A third set, measured untouched and then built on",
    "fourth": "A fourth set, measured untouched and then built on",
    "fifth": "A fifth set, measured untouched and then built on",
    "sixth": "A sixth set, measured untouched and then built on",
    "seventh": "A seventh set, measured untouched and then built on",
    "eighth": "An eighth set, measured untouched and then built on",
    "unseen": "Repositories that nobody here had looked at, untouched",
    "packages": "Packages from the registry",
}

# Reasons for not trying, by what they say.
REASONS = (
    (r"a class of .*(PyTorch|TensorFlow|Keras|JAX)", "class of a framework without a rule of its own"),
    (r"cannot be imported|does not exist after the import|packages that are not installed", "module cannot be imported"),
    (r"cannot be read as Python", "not Python of today"),
    (r"no arguments found for", "constructor: no arguments found"),
    (r"no inputs found", "forward: no inputs found"),
    (r"derivative cannot be asked", "backward: cannot be asked"),
    (r"did not end within|ended its process|interrupted", "time or memory"),
)


def run(arguments):
    kind, *places = arguments
    if kind not in SETS:
        sys.exit(f"no set {kind!r}: {', '.join(SETS)}")
    (KEPT / kind).mkdir(parents=True, exist_ok=True)
    for place in places:
        name, started, before = Path(place).resolve().name if Path(place).exists() else place, time.monotonic(), spent()
        until = started + SECONDS

        def in_time(_done, _total, _entry, until=until):
            if time.monotonic() > until:
                raise KeyboardInterrupt

        report = gv.audit(place, jobs=JOBS, timeout=TIMEOUT, progress=in_time)
        report.to_json(KEPT / kind / f"{name}.json")
        facts = {"wall": time.monotonic() - started, "cpu": spent() - before}
        (KEPT / kind / f"{name}.facts").write_text(json.dumps(facts))
        print(f"{name:42s} {report.summary}", flush=True)
    write()


def spent():
    """Processor seconds of the workers that have ended, and of this process."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_CHILDREN, resource.RUSAGE_SELF))


@cache
def entries(place):
    return json.loads(place.read_text())["reports"]


def outcome(report):
    verdicts = [check["verdict"] for check in report["checks"]]
    if not verdicts:
        return "not tried"
    return next((v for v in ("fail", "inconclusive") if v in verdicts), "pass")


def reason(report):
    text = report["notes"][0] if report["notes"] else ""
    return next((word for pattern, word in REASONS if re.search(pattern, text)), "other")


def known():
    path = REPORT.with_name("by-hand.toml")
    return tomllib.loads(path.read_text()) if path.exists() else {}


def row(place, judged):
    found, name = entries(place), place.stem
    counts = Counter(map(outcome, found))
    facts = json.loads(place.with_suffix(".facts").read_text())
    failed = [r["meta"]["symbol"] for r in found if outcome(r) == "fail"]
    by_hand = Counter(judged.get(name, {}).get(symbol, "open: ").split(":")[0] for symbol in failed)
    tried = len(found) - counts["not tried"]
    return [name, len(found), tried, counts["pass"], counts["fail"], by_hand["true"], by_hand["false"], by_hand["open"],
            counts["inconclusive"], counts["not tried"], round(facts["wall"]), round(facts["cpu"])]


COLUMNS = ("repository or package", "carry a derivative", "tried", "pass", "fail", "true by hand", "false by hand",
           "not looked at", "inconclusive", "not tried", "wall s", "CPU s")


def table(rows):
    yield f"| {' | '.join(COLUMNS)} |"
    yield f"|{'---|' * len(COLUMNS)}"
    totals = ["**all**", *(sum(column) for column in list(zip(*rows, strict=True))[1:])]
    for cells in (*rows, totals):
        yield f"| {' | '.join(map(str, cells))} |"


def write():
    judged, older = known(), written()
    kept = {kind: sorted((KEPT / kind).glob("*.json")) for kind in SETS}
    lines = [
        "# Audits of code that nobody prepared", "",
        "Written by `python benchmarks/audits.py` from the entries of its last run: no configuration, one seed,",
        f"{JOBS} worker on {os.cpu_count()} shared cores, at most {SECONDS} s a place and {TIMEOUT} s a derivative.", "",
        *judged.get("notes", {}).get("lines", []),
        *(line for kind, places in kept.items()
          for line in (section(SETS[kind], places, judged) if places else older.get(SETS[kind], ()))),
        "", f"## {BY_HAND}", "", "| where | judged | what is wrong |", "|---|---|---|",
        *merged(older.get(BY_HAND, ()), kept, judged),
    ]  # fmt: skip
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text("\n".join(lines) + "\n")


BY_HAND = "Failures, looked at by hand"


def written():
    """The sections of the tables as they stand, by title: a set that is not run here keeps its own."""
    text = REPORT.read_text() if REPORT.exists() else ""
    parts = [part.partition("\n") for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:]]
    return {title: ["", f"## {title}", *body.rstrip("\n").split("\n")] for title, _, body in parts}


def merged(older, kept, judged):
    """The failures of every place that was run, and as they stand those of all others."""
    ran = {place.stem for places in kept.values() for place in places}
    others = [line for line in older if line.startswith("| ") and line[2:].split(",")[0] not in (*ran, "where | judged | what is wrong |")]
    return [*others, *(line for places in kept.values() for place in places for line in by_hand(place, judged))]


def section(title, places, judged):
    rows = [row(place, judged) for place in places]
    reasons = Counter(reason(r) for place in places for r in entries(place) if outcome(r) == "not tried")
    carried, tried = sum(r[1] for r in rows), sum(r[2] for r in rows)
    yield from ("", f"## {title}", "", f"**{tried} of {carried} derivatives tried ({tried / carried:.0%}).**", "")
    yield from table(rows)
    yield from ("", "Why the rest was not tried:", "", "| reason | derivatives |", "|---|---|")
    yield from (f"| {word} | {n} |" for word, n in reasons.most_common())


def by_hand(place, judged):
    for report in entries(place):
        if outcome(report) == "fail":
            symbol = report["meta"]["symbol"]
            word, _, text = judged.get(place.stem, {}).get(symbol, "not looked at: ").partition(":")
            yield f"| {place.stem}, `{symbol}` | {word} | {text.strip()} |"


if __name__ == "__main__":
    {"run": run, "write": lambda _: write()}[sys.argv[1]](sys.argv[2:])
