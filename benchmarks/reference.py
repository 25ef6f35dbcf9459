"""How exactly the reference's derivatives are right: what its own tests compare, measured.

    python benchmarks/reference.py

Runs tests/reference and writes reports/reference.md: for every layer, activation, loss and optimizer the worst
relative disagreement with each oracle, over all rows of the tests, special points among them.
"""

from __future__ import annotations

import platform
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402
import pytest  # noqa: E402

REPORT = ROOT / "reports" / "reference.md"
ORACLES = {"complex step": 1e-13, "quad": 1e-13, "mpmath": 1e-13, "certified": 1e-13, "fifty digits": 1e-13,
           "second": 1e-12, "PyTorch": 1e-12}
KINDS = ("Activations", "Layers", "Losses", "Optimizers")
NAMELESS = {  # tests whose parameters are functions of PyTorch's, not the layer
    "test_convolution_and_its_transpose": [("Layers", "Conv"), ("Layers", "ConvTransposed")],
    "test_an_extra_row_of_a_transposed_convolution": [("Layers", "ConvTransposed")],
    "test_a_gated_unit": [("Activations", "GLU")],
    "test_scaled_dot_product_attention": [("Layers", "Attention")],
    "test_multi_head_attention_with_padding": [("Layers", "MultiHeadAttention")],
    "test_the_divergence_of_distributions": [("Losses", "KL")],
    "test_ctc_equals_that_of_torch": [("Losses", "CTC")],
    "test_ctc_agrees_with_the_complex_step": [("Losses", "CTC")],
}

WHAT = """The worst relative disagreement of values and gradients over all rows that tests/reference compares, each on the
scale of its array's largest entry: ordinary points, saturation, ties, masked rows, zero variance, repeated indices, a
batch of one. *complex step*: every entry of every gradient, h = 1e-30; *quad*, *mpmath*, *certified*: the slope along
random signs, the same forward on 113 bits, fifty digits and balls; *fifty digits*: the same forward, or the formula,
in mpmath; *second*: pushforward of the pullback against a complex step through both; *PyTorch*: the same parameters and
inputs, value and gradients, or thirty iterates of an optimizer. Blank: not compared there. Where a normalisation is given
1e4 + x, four digits are gone before it starts: those rows are held to 1e-11."""


class Recorder:
    """A plugin of pytest: who was on trial in each test, and by how much the test saw it differ."""

    def __init__(self):
        self.gaps = defaultdict(lambda: defaultdict(list))
        self.wrong = []

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item):
        from tests.reference import agreement  # only now: pytest rewrites the asserts of what it imports itself

        agreement.GAPS.clear()
        yield
        for subject in NAMELESS.get(item.originalname) or subjects(getattr(item, "callspec", None)):
            for oracle, gap in agreement.GAPS:
                self.gaps[subject][oracle].append((gap, item.name))

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.wrong.append(report.nodeid)


def subjects(callspec):
    """(kind, name) of what the parameters of a test put on trial; the row of a table may hold it further in."""
    for name, value in () if callspec is None else callspec.params.items():
        if name == "name" and isinstance(value, str):
            return [("Activations", value)]
        found = kind_of(made(value[0] if isinstance(value, tuple) else value, callspec.params))
        if found:
            return [found]
    return []


def made(value, params):
    """What a class, or a function of a reduction, makes; anything else as it is."""
    if isinstance(value, type):
        return value()
    return value(reduction="mean") if callable(value) and params.get("reduction") else value


def kind_of(value):
    """The part of the reference that the value is, if any."""
    name, module = type(value).__name__, type(value).__module__
    if not module.startswith("gradverify.reference"):
        return None
    if hasattr(value, "step"):
        return "Optimizers", name
    if name == "Activation":
        return "Activations", value.name
    if name in {"Softmax", "LogSoftmax", "GLU", "Maxout", "PReLU"}:
        return "Activations", name
    return ("Losses" if module.rsplit(".", 1)[-1] in {"losses", "entropies", "ctc"} else "Layers"), name


def table(gaps, kind):
    """A row for each part: the worst of every oracle and how many comparisons it made."""
    rows = [f"## {kind}", "", f"| | comparisons | {' | '.join(ORACLES)} |", "|---" * (2 + len(ORACLES)) + "|"]
    for (_, name), found in sorted((key, value) for key, value in gaps.items() if key[0] == kind):
        worst = [f"{max(gap for gap, _ in found[oracle]):.1e}" if found.get(oracle) else "" for oracle in ORACLES]
        count = sum(len(found[oracle]) for oracle in ORACLES if oracle in found)
        rows.append(f"| {name} | {count} | {' | '.join(worst)} |")
    return [*rows, ""]


def summary(gaps):
    """The worst of all, and the test that saw it."""
    rows = ["| oracle | asked | worst | where |", "|---|---|---|---|"]
    for oracle, asked in ORACLES.items():
        every = [(gap, test, name) for (_, name), found in gaps.items() for gap, test in found.get(oracle, ())]
        gap, test, name = max(every)
        rows.append(f"| {oracle} | {asked:.0e} | {gap:.1e} | {name}: `{test[:100]}` |".replace("||", "|"))
    return [*rows, ""]


def page(gaps):
    import torch

    return "\n".join([
        "# The derivatives of the reference, measured", "", "`python benchmarks/reference.py`", "",
        f"Python {platform.python_version()}, NumPy {np.__version__}, PyTorch {torch.__version__}, float64.", WHAT, "",
        *summary(gaps), *(row for kind in KINDS for row in table(gaps, kind))])


def main():
    recorder = Recorder()
    quiet = ["-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
    code = pytest.main([*quiet, str(ROOT / "tests" / "reference")], plugins=[recorder])
    if code or recorder.wrong:
        sys.exit(f"{len(recorder.wrong)} tests failed: no page is written")
    REPORT.write_text(page(recorder.gaps), encoding="utf-8")


if __name__ == "__main__":
    main()
