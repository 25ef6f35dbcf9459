"""How many faulty training programs and optimizers are found, under their right name, and how many right ones are left alone.

`python benchmarks/training.py` writes reports/training.md. The programs are those of tests/convergence/faulty_programs.py at
seeds that no threshold was chosen on; beside them, on the same runs, the rule that most tools use: the loss has not fallen by
a thousandth over the last ten epochs, or is not finite.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import gradverify as gv  # noqa: E402 - after the path to the catalogues
from gradverify import reference as r  # noqa: E402
from tests.convergence.faulty_optimizers import FAULTY, RIGHT  # noqa: E402
from tests.convergence.faulty_programs import FAMILIES, twin  # noqa: E402

REPORT = ROOT / "reports" / "training.md"


def not_decreasing(losses):
    """The rule of the peers: not finite, or no fall of a thousandth over ten epochs."""
    y = np.array(losses)
    return bool(not np.all(np.isfinite(y)) or y[-1] > y[-11] * (1 - 1e-3))


def programs(seeds):
    """A row a family: found, found by the peers' rule, false alarms of both on the twins, and what else was said."""
    for name, (make, cause) in FAMILIES.items():
        row = {"found": 0, "peers": 0, "false": 0, "false peers": 0, "said": []}
        for seed in seeds:
            report, right = gv.check_training(make(seed)), gv.check_training(twin(name, seed))
            told = [finding.name for finding in report.findings]
            row["found"] += cause in told
            row["said"] += [] if cause in told else ["/".join(told) or "nothing"]
            row["said"] += [f"twin: {finding.name}" for finding in right.findings]
            row["peers"] += not_decreasing(report.losses.training)
            row["false"] += bool(right.findings)
            row["false peers"] += not_decreasing(right.losses.training)
        print(name, row, flush=True)
        yield name, cause, row


def right_optimizers():
    """Every optimizer of the reference, torch, optax and Keras that is a function of gradients."""
    yield from (("reference", type(o).__name__, o) for o in (
        r.SGD(0.1), r.Momentum(0.1), r.Nesterov(0.1), r.RMSprop(0.01), r.Adam(0.1), r.AdamW(0.1)))
    yield from (("by hand", name, step) for name, (step, _) in RIGHT.items())
    import torch

    O = torch.optim  # noqa: E741
    for name in "SGD Adam AdamW Adamax NAdam RAdam Adagrad Adadelta RMSprop Rprop ASGD Adafactor".split():
        yield "torch", name, getattr(O, name)
    for settings in ({"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"momentum": 0.9, "dampening": 0.3},
                     {"weight_decay": 0.1}, {"maximize": True}):
        yield "torch", f"SGD {settings}", lambda p, s=settings: O.SGD(p, lr=0.1, **s)
    import optax

    for name in ("sgd adam adamw lion adagrad adadelta adamax adamaxw amsgrad fromage lamb lars nadam nadamw novograd radam rmsprop "
                 "optimistic_gradient_descent rprop sm3 yogi adafactor adabelief adan sign_sgd").split():
        yield "optax", name, getattr(optax, name)(0.01)
    import keras

    for name in "SGD Adam AdamW Adamax Nadam Adagrad Adadelta RMSprop Lion Ftrl Adafactor Lamb".split():
        yield "Keras", name, getattr(keras.optimizers, name)(0.01)


def optimizers():
    """What of the right ones does not pass, how many there are of each library, and what of the faulty ones is not found."""
    counts, open_ones = {}, []
    for library, name, optimizer in right_optimizers():
        report = gv.check_optimizer(optimizer)
        passed, known, total = counts.get(library, (0, 0, 0))
        counts[library] = passed + report.ok, known + bool(report.rule), total + 1
        print(library, name, report.verdict, report.rule, flush=True)
        open_ones += [] if report.ok else [(library, name, ", ".join(fact.cause for fact in report.facts if not fact.held))]
    rows = []
    for name, (step, told, cause) in FAULTY.items():
        report = gv.check_optimizer(step, **told)
        rows.append((name, cause, report.verdict is gv.Verdict.FAIL, cause in [fact.cause for fact in report.failed]))
    return counts, open_ones, rows


def page(found, seeds, seconds, counts, open_ones, faulty):
    """The report."""
    total = len(found) * len(seeds)
    sums = {key: sum(row[key] for _, _, row in found) for key in ("found", "peers", "false", "false peers")}
    lines = [
        "# Faulty training programs and optimizers", "",
        f"`python benchmarks/training.py --seeds {' '.join(map(str, seeds))}` makes this page ({seconds:.0f} s of processor time).", "",
        "## Training programs", "",
        (f"{len(found)} families, {len(seeds)} programs of each and as many right twins. Found under the right name: "
        f"{sums['found']} of {total} ({sums['found'] / total:.0%}); right programs with a finding: {sums['false']} of {total} "
        f"({sums['false'] / total:.0%}). The rule of the peers (not finite, or no fall of a thousandth in ten epochs) flags "
        f"{sums['peers']} of {total} faulty ones, names none, and flags {sums['false peers']} of {total} right ones."), "",
        "| family | cause | found | flagged by the peers' rule | false alarms | what else was said |", "| --- | --- | --- | --- | --- | --- |",
        *[f"| {name} | {cause} | {row['found']}/{len(seeds)} | {row['peers']}/{len(seeds)} | {row['false']}/{len(seeds)} | "
          f"{', '.join(row['said'])} |" for name, cause, row in found], "",
        "## Faulty optimizers", "",
        f"{sum(fails for _, _, fails, _ in faulty)} of {len(faulty)} fail, {sum(named for *_, named in faulty)} for their own reason.", "",
        "| mistake | cause | fails | under that name |", "| --- | --- | --- | --- |",
        *[f"| {name} | {cause} | {'yes' if fails else 'no'} | {'yes' if named else 'no'} |" for name, cause, fails, named in faulty], "",
        "## Right optimizers", "", "| library | pass | rule and constants read off | of |", "| --- | --- | --- | --- |",
        *[f"| {library} | {passed} | {known} | {total} |" for library, (passed, known, total) in counts.items()], "",
        "Those that do not pass:", "",
        *([f"- {library} `{name}`: {why}" for library, name, why in open_ones] or ["- none"]), "",
        ("optax's yogi starts both moments at 1e-6: what moves without a gradient dies out. Keras' Ftrl computes its weights anew "
         "from sums that start at zero: it is held against dual averaging."), "",
        "Not tried: optimizers that ask for the loss again within a step (LBFGS), that take sparse gradients only, or that add noise.", ""]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[400, 401, 402, 403, 404, 405, 406])
    seeds = parser.parse_args().seeds
    warnings.simplefilter("ignore")
    started = time.process_time()
    counts, open_ones, faulty = optimizers()
    found = list(programs(seeds))
    text = page(found, seeds, time.process_time() - started, counts, open_ones, faulty)
    REPORT.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
