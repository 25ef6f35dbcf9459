"""The fixture's other two questions; what they answer is tested where they are made."""

from __future__ import annotations

SHEETS = """
class Sheet:
    def __init__(self, ok, options):
        self.ok, self.verdict, self.options = ok, "healthy" if ok else "vanishing", options
    def __str__(self):
        return f"vanishing  {self.options}"

@pytest.fixture(autouse=True)
def answers(monkeypatch):
    answer = lambda ok, *inputs, **options: Sheet(ok, options)
    monkeypatch.setattr(gv, "check_flow", answer, raising=False)
    monkeypatch.setattr(gv, "check_training", answer, raising=False)

@pytest.mark.parametrize("kind", ["flow", "training"])
def test_right(gradverify, kind):
    assert getattr(gradverify, kind)(True).ok

def test_wrong(gradverify):
    gradverify.flow(False, X)

@pytest.mark.gradverify_flow(optimizer="adam", seed=1)
@pytest.mark.gradverify_training(window=3)
def test_options(gradverify):
    assert gradverify.flow(True, seed=2).options == {"optimizer": "adam", "seed": 2}
    assert gradverify.training(True).options == {"window": 3}
"""


def test_what_is_not_in_order_fails_and_markers_give_options(run_tests, pytester) -> None:
    result = run_tests(SHEETS, "--strict-markers", "--junitxml=junit.xml")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["*AssertionError: vanishing*"])
    assert "fixture.py" not in result.stdout.str()
    assert '<property name="gradverify_flow" value="vanishing"' in (pytester.path / "junit.xml").read_text()
