"""Shadow mode on the test suite of another project: outcomes with and without it, and what it found.

    python benchmarks/shadow.py run NAME CHECKOUT [arguments of pytest]     runs the suite twice, writes reports/shadow/NAME.md
    python benchmarks/shadow.py write NAME FOLDER                           writes it again from the files of such a run

The suite runs as its project left it, once without gradverify and once with ``--gradverify-shadow``; the outcomes are
compared test by test. A run that was cut short by its allowance may be gone on with: every ``*.json`` of the folder counts.
What is confirmed by hand stands in reports/shadow/README.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

ROOT = Path(__file__).parents[1]
OUT = ROOT / "reports/shadow"
SPENT = "what the run may spend is spent"


def run(name, checkout, arguments):
    folder = Path(checkout).resolve().parent / f"shadow-{name}"
    folder.mkdir(exist_ok=True)
    base = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for kind, more in (("plain", ["-p", "no:gradverify"]), ("shadow", [f"--gradverify-shadow-json={folder}/findings.json"])):
        subprocess.run([*base, *more, f"--junitxml={folder}/{kind}.xml"], cwd=checkout, env=environment, check=False)
    write(name, folder)


def outcomes(path):
    """What became of each test: ``passed`` or the tags that JUnit puts on it."""
    cases = ET.parse(path).iter("testcase")
    return {f"{case.get('classname')}::{case.get('name')}":
            ",".join(sorted(part.tag for part in case if part.tag in ("failure", "error", "skipped"))) or "passed"
            for case in cases}


def findings(folder):
    """Of every test the findings of the run that had to leave out least of it."""
    best = {}
    for path in sorted(folder.glob("*.json")):
        tests = {}
        for each in json.loads(path.read_text())["findings"]:
            tests.setdefault(each["nodeid"], []).append(each)
        for nodeid, found in tests.items():
            best[nodeid] = min(best.get(nodeid, found), found, key=lambda some: sum(f["reason"] == SPENT for f in some))
    return [each for found in best.values() for each in found]


def sentence(finding):
    wrong = [(report, check) for report in finding["reports"]["reports"] for check in report["checks"]
             if check["verdict"] != "pass"]
    if not wrong:
        return finding["reason"] or "right"
    report, check = wrong[0]
    causes = ", ".join(cause["name"] for cause in check["causes"]) or check["reason"]
    said = f"computed {check['computed']:.6g}, expected {check['expected']:.6g}" if check["verdict"] == "fail" else ""
    return f"{report['target']}: {check['wrt']} {said} ({causes}) {check['mode']}".replace("|", "\\|")


def table(found, kinds):
    groups = Counter((f["kind"], f["checker"], f["nodeid"], sentence(f)) for f in found if f["kind"] in kinds)
    rows = [f"| {kind} | {checker} | {nodeid} | {said} | {count} |" for (kind, checker, nodeid, said), count in
            sorted(groups.items())]
    return ["| finding | checker | test | gradverify says | calls |", "|---|---|---|---|---|", *rows] if rows else ["None."]


def write(name, folder):
    folder = Path(folder)
    plain, shadow = outcomes(folder / "plain.xml"), outcomes(folder / "shadow.xml")
    changed = sorted(test for test in plain.keys() | shadow.keys() if plain.get(test) != shadow.get(test))
    found = findings(folder)
    kinds = Counter(f["kind"] for f in found)
    reasons = Counter(f["reason"].split(":")[0] + ": " + f["reason"].split(": ")[-1] for f in found if f["reason"])
    lines = [
        f"# Shadow mode on the tests of {name}", "",
        "`python benchmarks/shadow.py` runs the suite with and without it; the findings are looked at by hand in [README.md](README.md).", "",
        "| | without | with |", "|---|---|---|",
        *(f"| {kind} | {list(plain.values()).count(kind)} | {list(shadow.values()).count(kind)} |"
          for kind in sorted({*plain.values(), *shadow.values()})),
        "", f"Tests whose outcome changed: {len(changed)} of {len(plain)}. {' '.join(changed)}", "",
        f"Calls of other checkers: {len(found)}. " + ", ".join(f"{kind}: {count}" for kind, count in kinds.most_common()) + ".", "",
        "## Missed and false alarms", "", *table(found, ("missed", "false alarm")), "",
        "## Undecided", "", *table(found, ("undecided",)), "",
        "## Not rechecked", "", *(f"- {count} times {reason}" for reason, count in reasons.most_common()), "",
    ]
    OUT.mkdir(exist_ok=True)
    (OUT / f"{name}.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    command, name, place, *rest = sys.argv[1:]
    {"run": lambda: run(name, place, rest), "write": lambda: write(name, place)}[command]()
