"""What an audit costs and stands: 500 targets on two processes, the same on a Dask cluster, twenty hostile modules.

    python benchmarks/audit.py            writes reports/audit.md

The 500 targets are layers, losses and activations as people write them, one in ten of them wrong. Wall clock on a shared machine
says little, so processor time stands beside it. The cluster has two workers, each a process of its own; one is killed when a tenth
is done. Peak memory is that of the process that reads the reports, not of the workers.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests/audit")]

from gradverify.audit import audit  # noqa: E402 - from this checkout

REPORT, COUNT, TIMEOUT = ROOT / "reports/audit.md", 500, 120
FORMS = (
    "def f{i}(x):\n    return np.tanh({i} * x)\ndef f{i}_prime(x):\n    return {k} * {i} * (1 - np.tanh({i} * x) ** 2)\n",
    ("def g{i}_forward(x, w, b):\n    return x @ w + b, (x, w)\n"
    "def g{i}_backward(dout, cache):\n    x, w = cache\n    return dout @ w.T, {k} * x.T @ dout, dout.sum(0)\n"),
    ("class Layer{i}:\n    def __init__(self, n_in, n_out):\n        self.W = np.ones((n_in, n_out)) / {i}\n"
    "    def forward(self, x):\n        self.x = x\n        return np.tanh(x @ self.W)\n"
    "    def backward(self, g):\n        g = g * (1 - np.tanh(self.x @ self.W) ** 2)\n"
    "        self.dW = {k} * self.x.T @ g\n        return g @ self.W.T\n"),
    ("class Loss{i}:\n    def loss(self, y, t):\n        return 0.5 * {i} * np.sum((y - t) ** 2)\n"
    "    def gradient(self, y, t):\n        return {k} * {i} * (y - t)\n"),
)


def write_targets(folder):
    for part in range(COUNT // 20):
        numbers = range(20 * part + 1, 20 * part + 21)
        code = "".join(FORMS[i % 4].format(i=i, k=1.3 if i % 10 == 0 else 1) for i in numbers)
        (folder / f"part{part:02d}.py").write_text("import numpy as np\n" + code)


def outcomes(report):
    return [(e.symbol, e.convention, e.verdict.value, e.reason) for e in report.entries]


def timed(folder, **options):
    before, started = spent(), time.monotonic()
    report = audit(folder, timeout=TIMEOUT, **options)
    return report, time.monotonic() - started, spent() - before


def spent():
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


def on_cluster(folder):
    import distributed

    warnings.simplefilter("ignore")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        first = next(iter(client.run(os.getpid).values()))

        def kill_one(done, _total, _entry):
            if done == COUNT // 10:
                os.kill(first, signal.SIGKILL)

        return timed(folder, dask=client, progress=kill_one)


def hostile(folder):
    from test_pool import GOOD, HOSTILE

    for name, code in {**HOSTILE, "good": GOOD, "zgood": GOOD}.items():
        (folder / f"{name}.py").write_text(code)
    started = time.monotonic()
    report = audit(folder, jobs=2, timeout=15.0)
    good = [e for e in report.entries if e.symbol.split(":")[0] in ("good", "zgood")]
    return len(HOSTILE), len(report.entries), all(e.verdict.value == "pass" for e in good), time.monotonic() - started


def main():
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_targets(folder)
        two, wall, cpu = timed(folder, jobs=2)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        lines = [
            "# What an audit costs and stands", "", "Written by `python benchmarks/audit.py`.", "",
            f"| {COUNT} targets, fifty of them wrong | wall s | CPU s, workers included | result |", "|---|---|---|---|",
            f"| two processes, {os.cpu_count()} shared cores, load {os.getloadavg()[0]:.0f} | {wall:.0f} | {cpu:.0f} | {two.summary} |",
        ]  # fmt: skip
        write(lines, memory)
        there, wall, _ = on_cluster(folder)
        same = "the same entries" if outcomes(there) == outcomes(two) else "ENTRIES DIFFER"
        lines += [f"| a Dask cluster of two worker processes, one killed at {COUNT // 10} | {wall:.0f} | | {same} |"]
        write(lines, memory)
    with tempfile.TemporaryDirectory() as place:
        os.chdir(place)
        modules, entries, good, seconds = hostile(Path(place))
        word = "pass" if good else "DO NOT PASS"
        lines += ["", (f"{modules} hostile modules and two good ones beside them, 15 s for each candidate: {entries} entries in "
                  f"{seconds:.0f} s, the good ones {word}.")]  # fmt: skip
        write(lines, memory)


def write(lines, memory):
    """The page as far as it is known; a later part that fails loses nothing."""
    REPORT.write_text("\n".join([*lines, "", f"Peak memory of the parent: {memory:.0f} MB.", ""]))


if __name__ == "__main__":
    main()
