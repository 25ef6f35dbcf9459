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


FLOW = """
from gradverify.reference import Activation, Dense, sequential

def deep(activation, depth=12, width=16):
    rng = np.random.default_rng(0)
    weights = [{"W": rng.normal(0, np.sqrt(2 / width), (width, width)), "b": np.zeros(width)} for _ in range(depth)]
    layers = [part for _ in weights for part in (Dense(width, width), Activation(activation))]
    params = tuple(part for each in weights for part in (each, {}))
    return sequential(*layers), params, rng.normal(size=(8, width))

def test_relu(gradverify):
    gradverify.flow(*deep("relu"))

@pytest.mark.gradverify_flow(optimizer="sgd")
def test_sigmoid(gradverify):
    gradverify.flow(*deep("sigmoid"))

def test_falling(gradverify):
    gradverify.training([2.0 * 0.8**k + 0.1 for k in range(60)])

def test_growing(gradverify):
    gradverify.training([1.2**k for k in range(30)])
"""


def test_a_network_that_vanishes_and_a_loss_that_grows_fail_and_say_so(run_tests) -> None:
    result = run_tests(FLOW)
    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(["*AssertionError: *vanishing*", "*AssertionError: *diverging*"])
