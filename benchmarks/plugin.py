"""What the pytest plugin costs a suite that does not use it: pytest --collect-only of an empty suite, with and without.

    python benchmarks/plugin.py                writes reports/plugin.md

Runs come in pairs, in turn with and without the plugin first, so that a machine which slows down slows both. The
plugin's share is the median of the pairs' differences. On a busy machine the clock says little: processor time is
taken inside the process, around `pytest.main`, in which everything that the plugin costs is spent.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAIRS, ALLOWED = 31, 10.0
MAIN = """
import sys, time, pytest
start = time.process_time()
pytest.main(["--collect-only", "-q", "-p", "no:cacheprovider", *sys.argv[1:]])
print("processor", 1e3 * (time.process_time() - start))
"""
COMMAND = (sys.executable, "-c", MAIN)
WITHOUT, WITH = ("-p", "no:gradverify"), ("-p", "gradverify.pytest_plugin")


def environment(folder):
    """One's own compiled modules, whatever the caller's environment says of them: an installation has them too."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {**kept, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT),
            "PYTHONPYCACHEPREFIX": f"{folder}/compiled"}


def run(folder, how):
    """Milliseconds on the clock of the whole process, and of processor time in `pytest.main`, for one collection."""
    start = time.perf_counter()
    done = subprocess.run([*COMMAND, *how], cwd=folder, env=environment(folder), capture_output=True, text=True, check=True)
    return 1e3 * (time.perf_counter() - start), float(done.stdout.split()[-1])


def measure(folder):
    pairs = []
    for number in range(PAIRS):
        order = (WITH, WITHOUT) if number % 2 else (WITHOUT, WITH)
        taken = {how: run(folder, how) for how in order}
        pairs.append((taken[WITHOUT], taken[WITH]))
    return pairs


def imported(folder):
    """Milliseconds of the modules of gradverify themselves, by ``-X importtime``."""
    command = [COMMAND[0], "-X", "importtime", *COMMAND[1:], *WITH]
    printed = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True, check=False).stderr
    own = [int(us) for us, name in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", printed)
           if name.split(".")[0] == "gradverify"]
    return sum(own) / 1e3, len(own)


def report(pairs, own):
    rows = []
    for label, column in (("clock", 0), ("processor", 1)):
        without, with_ = ([pair[side][column] for pair in pairs] for side in (0, 1))
        added = [b - a for a, b in zip(without, with_, strict=True)]
        low, middle, high = statistics.quantiles(added, n=4)
        rows.append(f"| {label} | {statistics.median(without):.1f} | {statistics.median(with_):.1f} | "
                    f"{middle:.1f} | {low:.1f} .. {high:.1f} |")
    added = statistics.median(b[1] - a[1] for a, b in pairs)
    return "\n".join([
        "# What the plugin costs a suite that does not use it", "",
        f"`python benchmarks/plugin.py`: `pytest --collect-only` of an empty suite, {PAIRS} pairs of runs, in ms.", "",
        "| time | without | with | added, median of the pairs | middle half |", "|---|---|---|---|---|", *rows, "",
        f"The {own[1]} modules of gradverify that are loaded take {own[0]:.1f} ms to import by themselves.",
        f"Asked: under {ALLOWED:g} ms. Added, of processor time: {added:.1f} ms.", ""])


def main():
    with tempfile.TemporaryDirectory() as folder:
        for how in (WITH, WITHOUT, WITH):
            run(folder, how)
        own = min(imported(folder) for _ in range(5))
        text = report(measure(folder), own)
    (ROOT / "reports/plugin.md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
