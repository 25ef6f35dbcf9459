"""The checker checked: slips planted into right derivatives, and which of them it lets pass.

    python benchmarks/mutants.py [--most 700] [--seed 0]

Writes reports/mutants.md. Each expression of the derivatives in operators_numpy.py is replaced by the slips people
make there (a dropped term, a flipped sign, a forgotten factor, a swapped axis, a wrong constant or branch ...). A
mutant counts if it differs from the original by more than 1e-12 relative at some of 1,000 points, which is found
by plain NumPy without the engine; what raises is left out. The peer is `torch.autograd.gradcheck` on the same mutants.
"""

from __future__ import annotations

import argparse
import ast
import collections
import copy
import inspect
import itertools
import linecache
import types
from pathlib import Path

import numpy as np
import operators_numpy as corpus

import gradverify as gv
from gradverify.selftest.mutants import places
from gradverify.selftest.mutations import slips

TREE = ast.parse(inspect.getsource(corpus))
NOT_DERIVATIVES = {"targets", "gradcheck", "main"}
NUMBERS = itertools.count()
ORIGINAL = {name: (target, back, points) for name, target, _, back, points in corpus.targets()}


def table_places(tree):
    """The expressions of the third and fourth columns of the tables: the derivatives."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and getattr(statement.targets[0], "id", "") in ("ELEMENTWISE", "REDUCTIONS"):
            for row in statement.value.elts:
                yield row, row.elts[2]


def all_places(tree):
    for name, place in places(tree):
        if name not in NOT_DERIVATIVES:
            yield place
    for row, derivative in table_places(tree):
        holder = (row, "elts", 2)
        if isinstance(derivative, ast.Lambda):
            yield from walk(derivative.body, (derivative, "body", None))
        yield from [holder] if isinstance(derivative, ast.Lambda) else []


def walk(node, place):
    if isinstance(node, ast.expr):
        yield place
    for field, value in ast.iter_fields(node):
        children = value if isinstance(value, list) else [value]
        for k, child in enumerate(children):
            if isinstance(child, ast.expr):
                yield from walk(child, (node, field, k if isinstance(value, list) else None))


def at(place):
    parent, field, index = place
    value = getattr(parent, field)
    return value if index is None else value[index]


def mutants():
    """(place, slip, label, before, after) for each slip of each place."""
    for number, place in enumerate(all_places(TREE)):
        for k, (label, new) in enumerate(slips(at(place))):
            before, after = ast.unparse(at(place)), ast.unparse(new)
            if before != after:
                yield number, k, label, before, after


def planted(number, k):
    """The corpus with one slip in place."""
    tree = copy.deepcopy(TREE)
    parent, field, index = next(p for i, p in enumerate(all_places(tree)) if i == number)
    new = list(slips(at((parent, field, index))))[k][1]
    if index is None:
        setattr(parent, field, new)
    else:
        getattr(parent, field)[index] = new
    return ast.fix_missing_locations(tree)


def derivatives(tree):
    module = types.ModuleType("mutated")
    module.__file__ = corpus.__file__
    source, file = ast.unparse(tree), f"<mutant {next(NUMBERS)}>"
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file  # a failure reads its source
    exec(compile(source, file, "exec"), module.__dict__)
    return {name: (target, back) for name, target, _, back, _ in module.targets()}


def many_points(points):
    """Points like the ordinary one, 1,000 rows of them."""
    rng = np.random.default_rng(5)
    return rng.choice(points[0].ravel(), size=(1000, points[0].shape[-1])) * rng.uniform(0.97, 1.03, size=(1000, points[0].shape[-1]))


def differs(back, name):
    """Whether the mutated derivative is another function; None if it raises or has another shape."""
    target, original, points = ORIGINAL[name]
    rng = np.random.default_rng(6)
    for x in (points[0], many_points(points)):
        with np.errstate(all="ignore"):
            u = rng.normal(size=np.shape(target.forward(x)))
            right = original(x, u)
            try:
                other = np.broadcast_to(back(x, u), right.shape)
            except Exception:
                return None
            if not np.all(np.isfinite(other) == np.isfinite(right)):
                return True
            if np.nanmax(np.abs(other - right), initial=0.0) > 1e-12 * np.nanmax(np.abs(right), initial=0.0):
                return True
    return False


def judged(most, seed):
    found = list(mutants())
    order = np.random.default_rng(seed).permutation(len(found))
    taken = 0
    for i in order:
        number, k, label, before, after = found[i]
        try:
            twins = derivatives(planted(number, k))
        except Exception:
            continue
        name = next((n for n, (_, back) in twins.items() if differs(back, n)), None)
        if name is None:
            yield label, before, after, "", "equivalent, or raises", "", ""
            continue
        if taken == most:
            return
        taken += 1
        right, _, points = ORIGINAL[name]
        claim = next(iter(twins[name][0].claims.items()))
        with np.errstate(all="ignore"):
            report = gv.check(gv.function(right.forward, **dict([claim])), points[0], seed=seed)
            peer = corpus.gradcheck(right.forward, twins[name][1], points[0])
        causes = [c.causes[0].name for c in report.checks if c.causes]
        yield label, before, after, name, report.verdict.value, peer, causes[0] if causes else "none"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--most", type=int, default=700)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rows = list(judged(given.most, given.seed))
    real = [row for row in rows if row[3]]
    alive = [row for row in real if row[4] != "fail"]
    by_label = collections.Counter((row[0], row[4]) for row in real)
    lines = ["# Mutants of right derivatives", "", f"`python benchmarks/mutants.py --most {given.most} --seed {given.seed}`", ""]
    lines += [f"{len(real)} mutants that differ from the original; {len(rows) - len(real)} equivalent or raising ones left out.", ""]
    lines += ["| | gradverify | gradcheck |", "|---|---|---|", f"| killed | {len(real) - len(alive)} | {sum(r[5] == 'fail' for r in real)} |",
              f"| survived | {len(alive)} | {sum(r[5] == 'pass' for r in real)} |", ""]
    named = collections.Counter(r[6] for r in real if r[4] == "fail")
    unexplained = named["unexplained"] + named["none"]
    lines += [f"First causes: {named.total() - unexplained} named, {unexplained} unexplained. "
              + ", ".join(f"{cause} {n}" for cause, n in named.most_common()) + ".", ""]
    lines += ["| slip | fail | inconclusive | pass |", "|---|---|---|---|"]
    lines += [f"| {label} | " + " | ".join(str(by_label[label, v]) for v in ("fail", "inconclusive", "pass")) + " |" for label in sorted({r[0] for r in real})]
    lines += ["", "## Not killed", "", "| operator | slip | before | after | verdict | gradcheck |", "|---|---|---|---|---|---|"]
    lines += [f"| {r[3]} | {r[0]} | `{r[1]}` | `{r[2]}` | {r[4]} | {r[5]} |" for r in alive]
    Path("reports/mutants.md").write_text("\n".join(lines).replace("||", "|") + "\n")
    print("\n".join(lines[4:]))


if __name__ == "__main__":
    main()
