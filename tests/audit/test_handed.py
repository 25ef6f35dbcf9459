"""Layers that are handed objects to read from and to write to, both ways."""

from __future__ import annotations

import pytest

from gradverify.records import Verdict
from tests.projects import attempts

BLOB = """
class Blob:
    def __init__(self, entries):
        self.entries = entries
        self.deltas = np.zeros_like(entries)
class Shape:
    def __init__(self, axes):
        self.axes = axes
"""
# Each sample is an object of its own; what a layer makes of them has no batch axis.
IN_LISTS = """
class Softmax:
    def forward(self, ins, outs):
        for i, o in zip(ins, outs):
            e = np.exp(i.entries - np.max(i.entries))
            o.entries = e / np.sum(e)
    def backward(self, outs, ins):
        for i, o in zip(ins, outs):
            y = o.entries.reshape(-1, 1)
            i.deltas = (FACTOR * (np.diagflat(y) - y @ y.T) @ o.deltas.reshape(-1, 1)).flatten()
"""
# The output goes into room that was made for it, whose shape only the layer knows; weights have a way of their own.
DENSE = """
class Dense:
    def __init__(self, in_shape: Shape, out_shape: Shape):
        self.in_shape, self.out_shape = in_shape, out_shape
        self.weights = Blob(np.random.randn(in_shape.axes[0], out_shape.axes[0]))
    def forward(self, ins, outs):
        for i, o in zip(ins, outs):
            o.entries[:] = i.entries @ self.weights.entries
    def backward(self, outs, ins):
        for i, o in zip(ins, outs):
            i.deltas[:] = self.weights.entries @ o.deltas
    def weight_deltas(self, outs, ins):
        self.weights.deltas[:] = FACTOR * sum(np.outer(i.entries, o.deltas) for i, o in zip(ins, outs))
def network():
    return [Dense(in_shape=Shape([6]), out_shape=Shape([4])), Dense(in_shape=Shape([4]), out_shape=Shape([2]))]
"""
# Which of the ways it goes is a member of an enumeration, and no other value will do.
CHOSEN = """
import enum
class Kind(enum.Enum):
    MAX = 1
class Pool:
    def __init__(self, in_shape: Shape, out_shape: Shape, kind: Kind):
        if in_shape.axes[0] != 2 * out_shape.axes[0] or not isinstance(kind, Kind):
            raise ValueError(kind)
        self.in_shape, self.out_shape = in_shape, out_shape
    def forward(self, ins, outs):
        for i, o in zip(ins, outs):
            o.entries[:] = i.entries.reshape(-1, 2).max(axis=1)
    def backward(self, outs, ins):
        for i, o in zip(ins, outs):
            pairs = i.entries.reshape(-1, 2)
            i.deltas[:] = (FACTOR * o.deltas[:, None] * (np.arange(2) == pairs.argmax(axis=1)[:, None])).ravel()
def network():
    return [Pool(in_shape=Shape([6]), out_shape=Shape([3]), kind=Kind.MAX)]
"""
ALONE = """
class Square:
    def forward(self, bottom, top):
        top.entries = bottom.entries ** 2
    def backward(self, top, bottom):
        bottom.deltas += FACTOR * 2 * bottom.entries * top.deltas
"""
# Divided by the size of the truth, which has the shape of the predictions.
LOSS = """
class Mse:
    def forward(self, predictions, labels):
        return sum(np.sum((p.entries - t.entries) ** 2) / t.entries.size for p, t in zip(predictions, labels))
    def backward(self, predictions, labels):
        for p, t in zip(predictions, labels):
            p.deltas = FACTOR * 2 * (p.entries - t.entries) / p.entries.size
"""


def tried(tmp_path, monkeypatch, code, factor):
    (entry,) = attempts(tmp_path, monkeypatch, BLOB + code.replace("FACTOR", factor)).values()
    return entry


def verdicts(entry):
    assert entry.report is not None, str(entry)
    return {check.wrt: check.verdict for check in entry.report.checks}


@pytest.mark.parametrize(
    ("code", "leaves"),
    [
        (IN_LISTS, {"ins"}),
        (DENSE, {"ins", "weights"}),
        (CHOSEN, {"ins"}),
        (ALONE, {"bottom"}),
        (LOSS, {"predictions"}),
    ],
)
class TestHanded:
    def test_right(self, tmp_path, monkeypatch, code, leaves):
        assert verdicts(tried(tmp_path, monkeypatch, code, "1.0")) == dict.fromkeys(leaves, Verdict.PASS)

    def test_wrong(self, tmp_path, monkeypatch, code, leaves):
        wrong = "weights" if "weights" in leaves else next(iter(leaves))
        assert verdicts(tried(tmp_path, monkeypatch, code, "1.5"))[wrong] is Verdict.FAIL


def test_output_that_is_written_in_part_is_none(tmp_path, monkeypatch):
    half = ALONE.replace("top.entries = bottom.entries ** 2", "top.entries[:-1] = bottom.entries[:-1] ** 2")
    assert tried(tmp_path, monkeypatch, half, "1.0").report is None
