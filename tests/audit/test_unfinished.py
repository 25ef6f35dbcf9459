"""Code that cannot run, whatever it is given: it is reported with its line, and no wrong guess of ours is taken for it."""

from __future__ import annotations

import pytest

from gradverify.records import Verdict
from tests.projects import attempts

SQUARE = """
def helper(x):
    return x * x
class Base:
    def __init__(self):
        self.kept = {}
class Square(Base):
    OWN
    def forward(self, x):
        self.x = x
        return FORWARD
    def backward(self, dy):
        return BACKWARD
"""
RIGHT = "2 * self.x * dy"
STUCK = {
    "a name that nothing binds": ("pass", "square_of(x)", RIGHT, "square_of(x)"),
    "a function that NumPy never had": ("pass", "x * np.arrange(3)", RIGHT, "np.arrange(3)"),
    "a keyword that a function has not": ("pass", "helper(x, axis=0)", RIGHT, "helper(x, axis=0)"),
    "a keyword of a function in C": ("pass", "x * np.random.binomial(1, 0.5, shape=x.shape)", RIGHT, "shape=x.shape"),
    "a property that is assigned to": ("kept = property(lambda self: 1)", "x * x", RIGHT, "self.kept = {}"),
    "a backward with a name that nothing binds": ("pass", "x * x", "square_of(dy)", ""),
    "a name of another function": ("def other(self, square_of): pass", "x * x", "square_of(dy)", ""),
    "a name of its class": ("square_of = np.square", "x * x", "square_of(dy)", ""),
}
OURS = {
    "an import that failed": ("try:\n        from compiled_somewhere import square_of\n    except OSError:\n        pass",
                              "square_of(x)", RIGHT),
    "a name that another function declares global": (
        "def other(self):\n        global square_of\n        square_of = np.square", "square_of(x)", RIGHT),
    "a name that is put among the globals": (
        "pass\nif not np.pi:\n    globals()['square_of'] = np.square\nclass Other(Square):", "square_of(x)", RIGHT),
    "a name at the top, in a branch not taken": ("pass\nif not np.pi:\n    square_of = np.square\nclass Other(Square):",
                                                 "square_of(x)", RIGHT),
    "an array of the wrong kind": ("pass", "x.never(axis=0)", RIGHT),
    "an argument that is called": ("def __init__(self, helper=None):\n        self.helper = helper",
                                   "self.helper(x, axis=0)", RIGHT),
    "a name that older versions had": ("pass", "x * np.asscalar(x)", RIGHT),
}  # fmt: skip


def square(own, forward, backward=RIGHT):
    return SQUARE.replace("OWN", own).replace("FORWARD", forward).replace("BACKWARD", backward)


@pytest.mark.parametrize(("own", "forward", "backward", "line"), STUCK.values(), ids=STUCK)
def test_what_cannot_run_is_tried_and_says_where(tmp_path, monkeypatch, own, forward, backward, line):
    (tmp_path / "README.md").write_text("a project\n")
    *_, entry = attempts(tmp_path, monkeypatch, square(own, forward, backward)).values()
    assert (entry.verdict, {c.reason for c in entry.report.checks}) == (Verdict.INCONCLUSIVE, {"error"})
    assert line in " ".join(entry.report.notes)


@pytest.mark.parametrize(("own", "forward", "backward"), OURS.values(), ids=OURS)
def test_what_might_run_elsewhere_is_untried(tmp_path, monkeypatch, own, forward, backward):
    (tmp_path / "README.md").write_text("a project\n")
    *_, entry = attempts(tmp_path, monkeypatch, square(own, forward, backward)).values()
    assert entry.report is None


def test_the_same_code_without_the_slip_is_judged(tmp_path, monkeypatch):
    *_, entry = attempts(tmp_path, monkeypatch, square("pass", "helper(x)")).values()
    assert (entry.verdict, entry.reason) == (Verdict.PASS, "")
