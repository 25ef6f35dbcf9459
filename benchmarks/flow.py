"""What `check_flow` says of networks whose fate is known, beside the fixed rules of other tools.

    python benchmarks/flow_truth.py reports/flow-truth.csv     # trains them; long
    python benchmarks/flow.py reports/flow-truth.csv           # writes reports/flow.md

Three questions. Verdicts: against the outcome of training, balanced accuracy, the same networks for every rule, and
whether a verdict changes with the scale of the loss. Prediction: how far right layers lie from theory, in the standard
errors that were fixed on other networks (numbers from 1000 on). Wrong backward passes: how many of those planted in one
layer are not explained.

The limits of the verdicts were fixed on some of the networks (`is_seen`); the tables are of the others, except where they
say so. What is asked here is `check_flow` without the remedies and the spectrum, which no verdict depends on.
"""

from __future__ import annotations

import csv
import math
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from flow_truth import SPACE, TORCH, draw_spec, draw_weights, task
from torch import nn

import gradverify as gv
from gradverify.flow.checking import measure, record
from gradverify.flow.sites import settled
from gradverify.flow.verdict import declared

OPTIMIZERS = ("sgd", "adam")
CHEAP = ("adam",)  # what layers do to a gradient is the same for all; plain descent asks for more passes
SCALES = (1e-8, 1e-4, 1.0, 1e4, 1e8)
ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": lambda: nn.LeakyReLU(0.2), "tanh": nn.Tanh, "sigmoid": nn.Sigmoid,
               "gelu": nn.GELU, "silu": nn.SiLU, "elu": nn.ELU, "selu": nn.SELU}
FRESH = 582  # the number of the first network that nobody looked at before the limits were fixed
REPORT = Path(__file__).parents[1] / "reports" / "flow.md"


def linear(W, b):
    layer = nn.Linear(*W.shape)
    layer.weight.data, layer.bias.data = torch.tensor(W.T.copy()), torch.tensor(b[0])
    return layer


def convolution(W, b):
    inputs, units = W.shape[0] // 3, W.shape[1]
    layer = nn.Conv1d(inputs, units, 3, padding=1)
    layer.weight.data = torch.tensor(W.reshape(3, inputs, units).transpose(2, 1, 0).copy())
    layer.bias.data = torch.tensor(b[0])
    return layer


class Network(nn.Module):
    """The network of a Spec, with the weights of its first seed."""

    def __init__(self, spec):
        super().__init__()
        w = draw_weights(spec, 0)
        self.spec = spec
        make = convolution if spec.family == "convolutional" else linear
        self.first = make(w["first"], w["b_first"])
        names = [n for n in w if n.startswith("hidden")]
        self.hidden = nn.ModuleList(make(w[n], w["b_" + n]) for n in names)
        self.f = nn.ModuleList(ACTIVATIONS[spec.activation]() for _ in range(spec.depth - 1))
        self.last = linear(w["last"], w["b_last"])

    def forward(self, x):
        spec = self.spec
        if spec.family == "convolutional":
            x = x.reshape(len(x), SPACE, -1).transpose(1, 2)
        h = self.first(x)
        for k in range(spec.depth - 2):
            branch = self.hidden[0 if spec.family == "recurrent" else k](self.f[k](h))
            h = h + branch if spec.family == "residual" else branch
        h = self.f[-1](h)
        return self.last(h.mean(dim=2) if spec.family == "convolutional" else h)


def entropy(labels, scale):
    return lambda y: scale * nn.functional.cross_entropy(y, labels)


def rules(report):
    """What other tools say of the first gradient; True where they warn."""
    g = np.array([layer.gradient for layer in report.layers if layer.gradient == layer.gradient])
    with np.errstate(all="ignore"):
        ratio = g[0] / g[-1]
    finite = bool(np.all(np.isfinite(g)))
    return {"size < 1e-7 (SageMaker Debugger, DeepDiagnosis)": not finite or bool(np.min(g) < 1e-7),
            "size outside 1e-6 .. 1e6 (TheDeepChecker)": not finite or bool(np.min(g) < 1e-6 or np.max(g) > 1e6),
            "first/last outside 1e-3 .. 70 (AutoTrainer)": not finite or not 1e-3 <= ratio <= 70}


def is_seen(number):
    """Whether the limits were fixed on this network."""
    return number < FRESH or number >= 1000


def flow(network, x, loss=None, optimizers=("sgd",)):
    """The reports of one forward pass, one for each optimizer: `check_flow` up to its verdict."""
    passage = record(network, (x,))
    passage = replace(passage, sites=settled(passage.sites, 0))
    return [measure(passage, loss, declared(optimizer), 0)[0] for optimizer in optimizers]


def judged(row):
    """Verdicts of gradverify and warnings of the rules on one network, by optimizer and loss scale."""
    x, labels = (torch.tensor(a) for a in task())
    network, found = Network(draw_spec(int(row["number"]))), {}
    for scale in (1.0,) if is_seen(int(row["number"])) else SCALES:
        for optimizer, report in zip(OPTIMIZERS, flow(network, x, entropy(labels, scale), OPTIMIZERS), strict=True):
            found[optimizer, scale] = str(report.verdict), rules(report)
    return found


def balanced(warned, bad):
    """Mean of the shares found and left alone, and both."""
    warned, bad = np.array(warned), np.array(bad)
    hit = np.mean(warned[bad]) if bad.any() else math.nan
    quiet = np.mean(~warned[~bad]) if (~bad).any() else math.nan
    return (hit + quiet) / 2, hit, quiet


def verdict_tables(everything):
    seen = {row["number"]: judged(row) for row in everything}
    rows = [row for row in everything if not is_seen(int(row["number"]))]
    lines, names = [], list(rules(flow(nn.Linear(2, 2), torch.ones(3, 2))[0]))
    for optimizer in OPTIMIZERS:
        clear = [row for row in rows if row[optimizer] in ("000", "111")]
        bad = [row[optimizer] == "000" for row in clear]
        apart = len(rows) - len(clear)
        lines += ["", f"### {optimizer}: {len(clear)} networks, {sum(bad)} do not train; {apart} whose seeds disagree apart",
                  "", "| rule | loss scale | balanced accuracy | found | left alone |", "|---|---|---|---|---|"]
        for scale in SCALES:
            mine = [seen[r["number"]][optimizer, scale][0] != "healthy" for r in clear]
            lines.append(table_row("gradverify", scale, balanced(mine, bad)))
        for which, chosen in (("the networks that its limits were fixed on", [r for r in everything if r not in rows]),
                              ("both", everything)):
            known = [r for r in chosen if r[optimizer] in ("000", "111")]
            mine = [seen[r["number"]][optimizer, 1.0][0] != "healthy" for r in known]
            numbers = balanced(mine, [r[optimizer] == "000" for r in known])
            lines.append(table_row(f"gradverify, {which} ({len(known)})", 1.0, numbers))
        for name in names:
            for scale in (1e-4, 1.0, 1e4):
                theirs = [seen[r["number"]][optimizer, scale][1][name] for r in clear]
                lines.append(table_row(name, scale, balanced(theirs, bad)))
    moved = [r["number"] for r in rows for o in OPTIMIZERS if len({seen[r["number"]][o, s][0] for s in SCALES}) > 1]
    lines += ["", f"Verdicts that change with the scale of the loss, 1e-8 to 1e8: {len(set(moved))} of {len(rows)}."]
    wrong = [f"| {r['number']} | {r['family']} | {r['activation']} | {r['depth']} | {float(r['gain']):.2f} | {o} | "
             f"{r[o]} | {seen[r['number']][o, 1.0][0]} |" for o in OPTIMIZERS for r in rows
             if r[o] in ("000", "111") and (r[o] == "000") != (seen[r["number"]][o, 1.0][0] != "healthy")]
    return [*lines, "", "Every one that gradverify gets wrong:", "",
            "| number | family | activation | depth | gain | optimizer | trained | verdict |", "|---|---|---|---|---|---|---|---|", *wrong]


def table_row(name, scale, numbers):
    return f"| {name} | {scale:g} | " + " | ".join(f"{n:.3f}" for n in numbers) + " |"


class Spoilt(torch.autograd.Function):
    """A module's own forward, with a backward pass that is not its own: half of it, or without the slope."""

    @staticmethod
    def forward(ctx, x, module, kind):
        ctx.kind, ctx.module = kind, module
        ctx.save_for_backward(x)
        return module(x)

    @staticmethod
    def backward(ctx, dy):
        if ctx.kind == "slope":
            return dy, None, None
        (x,) = ctx.saved_tensors
        with torch.enable_grad():
            again = x.detach().requires_grad_()
            (dx,) = torch.autograd.grad(ctx.module(again), again, dy)
        return 0.5 * dx, None, None


class Planted(nn.Module):
    def __init__(self, module, kind):
        super().__init__()
        self.inner, self.kind = [module], kind  # in a list: no submodule, so that this is the innermost

    def forward(self, x):
        return Spoilt.apply(x, self.inner[0], self.kind)


def prediction_tables(numbers):
    right, planted = [], []
    for number in numbers:
        spec = draw_spec(number)
        if spec.family == "recurrent":
            continue
        x = torch.tensor(task()[0])
        report = flow(Network(spec), x, optimizers=CHEAP)[0]
        right += [(spec.family, layer.kind, layer.z, layer.error) for layer in report.layers if layer.z == layer.z]
        if report.verdict == "nonfinite":
            continue
        rng = np.random.default_rng(number)
        for kind in ("half", "slope", "half-linear"):
            network = Network(spec)
            place = int(rng.integers(spec.depth - 2))
            if kind == "half-linear":
                network.hidden[place] = Planted(network.hidden[place], "half")
            else:
                network.f[place] = Planted(network.f[place], kind)
            name = f"hidden.{place}" if kind == "half-linear" else f"f.{place}"
            layer = next((r for r in flow(network, x, optimizers=CHEAP)[0].layers if r.layer == name), None)
            if layer is not None and not math.isnan(layer.error):
                planted.append((kind, layer.error, layer.explained is False, abs(layer.z) > 4))
    return [*right_table(right), *planted_table(planted)]


def right_table(right):
    lines = ["", "| family | layers | within 4 standard errors | root mean square of z |", "|---|---|---|---|"]
    for family in ("mlp", "convolutional", "residual", "all"):
        z = np.array([z for f, _, z, _ in right if family in (f, "all")])
        lines.append(f"| {family} | {len(z)} | {np.mean(np.abs(z) <= 4):.2%} | {np.sqrt(np.mean(z**2)):.2f} |")
    return lines


def planted_table(planted):
    lines = ["", "Wrong backward passes planted in one layer, where the standard error is at most 0.3:", "",
             "| planted | cases | not explained | by the size alone |", "|---|---|---|---|"]
    for kind, name in (("half", "an activation sends half"), ("slope", "an activation without its slope"),
                       ("half-linear", "a layer with weights sends half"), (None, "all")):
        chosen = [p for p in planted if kind in (p[0], None) and p[1] <= 0.3]
        lines.append(f"| {name} | {len(chosen)} | {np.mean([p[2] for p in chosen]):.1%} | "
                     f"{np.mean([p[3] for p in chosen]):.1%} |")
    left = sum(p[1] > 0.3 for p in planted)
    return [*lines, "", f"{left} cases have a larger standard error and are not counted."]


def main():
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    with Path(sys.argv[1]).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    start = time.process_time()
    versions = f"gradverify {gv.__version__}, torch {torch.__version__.split('+')[0]}"
    fresh = [int(row["number"]) for row in rows if not is_seen(int(row["number"]))]
    text = ["# Gradient flow against training", "",
            f"Made by `python benchmarks/flow.py reports/flow-truth.csv` ({versions}); the truth by",
            "`python benchmarks/flow_truth.py reports/flow-truth.csv`, which says what was trained and how. The limits of the",
            f"verdict were fixed on {len(rows) - len(fresh)} networks (0 to {FRESH - 1}, and from 1000 on), the constant of the",
            "standard error on those from 1000 on.", "",
            "## Verdicts", "",
            f"{len(rows)} networks, {len(fresh)} of them seen by nobody before: MLP, residual, convolutional, recurrent; 8 activations;",
            "depth 4 to 60; width 16 to 128; 0.2 to 5 times the critical deviation. Unless a row says otherwise it is of the fresh ones.",
            *verdict_tables(rows), "", "## Right layers against theory", *prediction_tables(fresh), "",
            f"{time.process_time() - start:.0f} s of one core."]
    REPORT.write_text("\n".join(text) + "\n", encoding="utf-8")
    print("\n".join(text))


assert set(TORCH) == set(ACTIVATIONS)
if __name__ == "__main__":
    main()
