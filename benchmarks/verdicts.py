"""Nothing wrong passes, nothing right fails: the catalogue, small errors, many right networks, many seeds.

    python benchmarks/verdicts.py [--right 20000] [--seeds 200] [--parts catalogue small right seeds]

Writes reports/verdicts-PART.md for each part. The peers run on the same cases in the same run (rivals.py).
"""

from __future__ import annotations

import argparse
import collections
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np

import gradverify as gv
from gradverify import reference as rf

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests" / "wrong")]
KINKED = ("relu", "leaky_relu", "hard_sigmoid", "hard_tanh", "hard_swish")
SMOOTH = ("tanh", "sigmoid", "gelu", "silu", "softplus", "elu", "mish", "identity")


def table(title, command, lines):
    return "\n".join([f"# {title}", "", f"`python benchmarks/verdicts.py {command}`", "", *lines]) + "\n"


def catalogue(given):
    """Every row of tests/wrong: ours by the row's own options, the peers with their defaults."""
    import rivals
    from catalogue import Wrong, failing, judge, read_tables

    counts, named, missed, alarms = collections.Counter(), 0, [], []
    rows = read_tables()
    for row in rows:
        kind = "wrong" if isinstance(row, Wrong) else "right"
        report = judge(row)
        if kind == "wrong":
            checks = failing(row, report)
            verdict = "fail" if checks else report.verdict.value if report.verdict is not gv.Verdict.FAIL else "elsewhere"
            named += any(c.causes and c.causes[0].name in row.cause.split("|") for c in checks)
            missed += [] if checks else [row.note]
        else:
            verdict = report.verdict.value
            alarms += [row.note] if report.verdict is gv.Verdict.FAIL else []
        counts["gradverify", kind, verdict] += 1
        inputs = row.inputs if isinstance(row.inputs, tuple) else (row.inputs,)
        try:
            case = rivals.wrapped(row.target, inputs, row.options)
        except Exception:
            case = None
        for name in rivals.RIVALS:
            counts[name, kind, "cannot" if case is None else rivals.ask(name, case)] += 1
    total = {kind: sum(n for (who, k, _), n in counts.items() if who == "gradverify" and k == kind) for kind in ("wrong", "right")}
    lines = [(f"{total['wrong']} wrong gradients, {total['right']} right ones. A checker that takes longer than {rivals.MOST_SECONDS} s, or goes entry by entry "
             f"and meets more than {rivals.MOST_ENTRIES:,}, counts as undecided."), "",
             "| checker | wrong: caught | passed | undecided or cannot | right: passed | failed | undecided or cannot |", "|---|---|---|---|---|---|---|"]
    for who in ("gradverify", *rivals.RIVALS):
        cell = lambda kind, verdict, who=who: counts[who, kind, verdict]  # noqa: E731
        other = lambda kind, who=who: total[kind] - counts[who, kind, "pass"] - counts[who, kind, "fail"]  # noqa: E731
        lines.append(f"| {who} | {cell('wrong', 'fail')} | {cell('wrong', 'pass')} | {other('wrong')} | {cell('right', 'pass')} | {cell('right', 'fail')} | {other('right')} |")
    lines += ["", f"The right first cause: {named} of {total['wrong']} ({100 * named / total['wrong']:.1f} %).",
              f"Wrong ones not caught at their leaf: {', '.join(missed) or 'none'}.", f"Right ones failed: {', '.join(alarms) or 'none'}."]
    return table("The catalogue of wrong gradients", "--parts catalogue", lines)


def small(given):
    """One entry in 1,000 off by 1e-6 of the root-mean-square entry, and all entries off by 1e-9, 200 draws of each."""
    import rivals

    functions = [(np.sin, np.cos), (np.exp, np.exp), (np.tanh, lambda x: 1 / np.cosh(x) ** 2), (lambda x: x**3, lambda x: 3 * x**2)]
    counts = collections.Counter()
    for k in range(given.small):
        rng = np.random.default_rng(k)
        f, d = functions[k % len(functions)]
        x, i = rng.normal(size=1000), int(rng.integers(1000))

        def one(x, d=d, i=i):
            g = np.array(d(x))
            g[i] += 1e-6 * np.sqrt(np.mean(g * g))
            return g

        for kind, claim in (("one entry, 1e-6", one), ("all entries, 1e-9", lambda x, d=d: d(x) * (1 + 1e-9)), ("right", d)):
            counts["gradverify", kind, gv.check(gv.function(f, derivative=claim), x, search="none", seed=k).verdict.value] += 1
            if k < given.small // 10:
                case = rivals.wrapped(gv.function(f, derivative=claim), (x,), {})
                for name in set(rivals.RIVALS) - {"gradcheck, slow"}:
                    counts[name, kind, rivals.ask(name, case)] += 1
    lines = ["| checker | error | caught | passed | undecided or cannot |", "|---|---|---|---|---|"]
    for who in ("gradverify", *[n for n in rivals.RIVALS if n != "gradcheck, slow"]):
        for kind in ("one entry, 1e-6", "all entries, 1e-9", "right"):
            seen = {v: n for (w, k, v), n in counts.items() if (w, k) == (who, kind)}
            lines.append(f"| {who} | {kind} | {seen.get('fail', 0)} | {seen.get('pass', 0)} | {sum(seen.values()) - seen.get('fail', 0) - seen.get('pass', 0)} |")
    return table("Small errors among 1,000 entries", "--parts small", lines)


def network(rng, kinked):
    """A random network of the reference, and the sizes of its input."""
    layers, width, names = [], int(rng.integers(1, 9)), SMOOTH + (KINKED if kinked else ())
    inputs = width
    for _ in range(int(rng.integers(1, 6))):
        new = int(rng.integers(1, 9))
        kind = rng.choice(["dense", "dense", "activation", "activation", "layernorm", "rmsnorm", "softmax", "residual"])
        if kind == "dense":
            layers.append(rf.Dense(width, new))
            width = new
        elif kind == "activation":
            layers.append(rf.Activation(str(rng.choice(names))))
        elif kind in ("layernorm", "rmsnorm") and width > 1:
            layers.append(rf.LayerNorm((width,)) if kind == "layernorm" else rf.RMSNorm((width,)))
        elif kind == "softmax":
            layers.append(rf.Softmax())
        elif kind == "residual":
            layers.append(rf.Residual(rf.sequential(rf.Dense(width, width), rf.Activation(str(rng.choice(names))))))
    return rf.sequential(*(layers or [rf.Dense(width, 3)])), (int(rng.integers(1, 6)), inputs)


def scaled(tree, factor):
    if isinstance(tree, dict):
        return {k: scaled(v, factor) for k, v in tree.items()}
    return tuple(scaled(v, factor) for v in tree) if isinstance(tree, tuple) else tree * factor if isinstance(tree, np.ndarray) else tree


def right_case(k):
    """(kind, network, params, x): ordinary, scaled by 1e-12 .. 1e12, or with kinks and exact zeros."""
    rng = np.random.default_rng((1, k))
    kind = ("ordinary", "scaled", "kinks and zeros")[k % 3]
    net, shape = network(rng, kinked=kind == "kinks and zeros")
    params, x = net.init(rng), rng.normal(size=shape)
    if kind == "scaled":
        x = x * 10.0 ** rng.uniform(-12, 12)
        params = scaled(params, 10.0 ** rng.uniform(-2, 2))
    if kind == "kinks and zeros":
        x = np.where(rng.random(shape) < 0.5, 0.0, x)
    return kind, net, params, x


def right(given):
    """Random right networks: none may fail, and at ordinary points at most one in a thousand is undecided."""
    counts, odd, started = collections.Counter(), [], time.process_time()
    for k in range(given.first, given.first + given.right):
        kind, net, params, x = right_case(k)
        report = gv.check(net, params, x, search="none", seed=k)
        counts[kind, report.verdict.value] += 1
        for c in report.checks:
            if c.verdict is not gv.Verdict.PASS:
                counts[kind, f"undecided: {c.reason}"] += 1
        if report.verdict is gv.Verdict.FAIL or (kind == "ordinary" and not report.ok):
            odd.append(f"case {k}, {kind}: {report.verdict.value}: {net!r}")
            print(odd[-1], report, sep="\n", flush=True)
    seconds = (time.process_time() - started) / given.right
    lines = [f"{given.right} random networks of `gradverify.reference`, one seed each; {seconds:.3f} s of processor a check.", "",
             "| points | pass | inconclusive | fail |", "|---|---|---|---|"]
    row = lambda kind: " | ".join(str(counts[kind, v]) for v in ("pass", "inconclusive", "fail"))  # noqa: E731
    lines += [f"| {kind} | {row(kind)} |" for kind in ("ordinary", "scaled", "kinks and zeros")]
    lines += ["", "Why undecided, by leaf: " + (", ".join(f"{kind}, {v.removeprefix('undecided: ')}: {n}" for (kind, v), n in sorted(counts.items()) if v.startswith("undecided")) or "nothing was") + ".",
              "", *(f"- {text}" for text in odd)]
    return table("Right networks", f"--parts right --right {given.right} --first {given.first}", lines)


def verdict_line(case, seeds):
    _, net, params, x = right_case(case)
    return "".join(gv.check(net, params, x, search="none", seed=s).verdict.value[0] for s in range(seeds))


def seeds(given):
    """The same verdict whatever the seed, and with one thread or two."""
    lines = ["Ten right networks (p: pass, i: inconclusive, f: fail).", "", "| case | verdicts over the seeds | with 1 and 2 threads |", "|---|---|---|"]
    code = "import sys; sys.path.insert(0, sys.argv[1]); import verdicts; print([verdicts.verdict_line(k, 10) for k in range(10)])"
    runs = [subprocess.run([sys.executable, "-c", code, str(HERE)], env={**os.environ, "OPENBLAS_NUM_THREADS": n}, check=True, capture_output=True, text=True).stdout for n in "12"]
    for k in range(10):
        seen = collections.Counter(verdict_line(k, given.seeds))
        lines.append(f"| {k}: {right_case(k)[0]} | {', '.join(f'{n} {v}' for v, n in seen.items())} | {'the same' if runs[0] == runs[1] else 'differ'} |")
    return table("The same verdict over seeds and threads", f"--parts seeds --seeds {given.seeds}", lines)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--right", type=int, default=20000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--small", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--parts", nargs="+", default=["catalogue", "small", "right", "seeds"])
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    for part in given.parts:
        text = globals()[part](given)
        (HERE.parent / "reports" / f"verdicts-{part}.md").write_text(text)
        print(text)


if __name__ == "__main__":
    main()
