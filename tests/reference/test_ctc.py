"""CTC against the sum over all paths, written out, against the complex step and against PyTorch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from gradverify.reference import CTC, Weighted
from tests.reference.agreement import assert_derivatives, assert_gradient, assert_second_derivatives, noted

RNG = np.random.default_rng(0)
SCORES = RNG.normal(size=(4, 5, 3))
LABELS = np.array([[1, 2], [1, 1], [2, -1], [-1, -1]])
SHORT = {"labels": LABELS, "steps": np.array([5, 3, 2, 1])}


def read(path, blank=0):
    return [label for label, _ in itertools.groupby(path) if label != blank]


def over_all_paths(labels, scores, steps, blank=0):
    """-log of the summed probability of every path that reads as the labels."""
    p = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    wanted = [label for label in labels if label >= 0]
    return -np.log(sum(np.prod(p[np.arange(steps), path]) for path in itertools.product(range(3), repeat=steps)
                       if read(path, blank) == wanted))


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("steps", [[5, 5, 5, 5], [5, 3, 2, 1]], ids=str)
def test_the_loss_is_the_sum_over_all_paths_that_read_as_the_labels(steps, blank):
    labels = np.where(blank == LABELS, 0, LABELS)
    values, _ = CTC(blank, "none").forward({"labels": labels, "steps": np.array(steps)}, SCORES)
    expected = [over_all_paths(*row, blank) for row in zip(labels, SCORES, steps, strict=True)]
    np.testing.assert_allclose(values, expected, rtol=1e-13)


@pytest.mark.parametrize("y_true", [LABELS, SHORT, Weighted(LABELS, np.array([1.0, 2.0, 0.0, 3.0]))], ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("scale", [1.0, 20.0])
def test_ctc_agrees_with_the_complex_step(y_true, reduction, scale):
    loss = CTC(reduction=reduction)
    if isinstance(y_true, Weighted):
        y_true = Weighted(y_true.truth, y_true.weights.astype(int))
    assert_derivatives(loss, y_true, scale * SCORES)
    assert_gradient(loss, y_true, scale * SCORES)
    assert_second_derivatives(loss, y_true, scale * SCORES)


def test_labels_that_no_path_can_give_cost_infinitely_much_and_have_no_gradient():
    values, pullback = CTC(reduction="none").forward(np.array([[1, 1], [1, 2]]), SCORES[:2, :2])
    assert values[0] == np.inf
    assert np.isfinite(values[1])
    dy = pullback(np.ones(2))[1]
    assert not dy[0].any()
    assert dy[1].any()


def test_only_paths_count_so_a_step_beyond_the_end_has_no_gradient():
    dy = CTC().forward(SHORT, SCORES)[1](1.0)[1]
    assert not dy[1, 3:].any()
    assert dy[1, 2].any()


def test_certain_scores_give_the_loss_of_the_one_path_that_is_left():
    certain = np.full((1, 3, 3), -500.0)
    certain[0, np.arange(3), [1, 0, 2]] = 0.0
    value, pullback = CTC().forward(np.array([[1, 2]]), certain)
    assert value == pytest.approx(0, abs=1e-200)
    assert np.isfinite(pullback(1.0)[1]).all()


@pytest.mark.parametrize(("reduction", "steps"), [("none", [5, 5, 5, 5]), ("sum", [5, 3, 2, 1])])
def test_ctc_equals_that_of_torch(reduction, steps):
    torch = pytest.importorskip("torch")
    z = torch.tensor(SCORES, requires_grad=True)
    lengths = torch.tensor((LABELS >= 0).sum(1))
    log_p, labels = torch.log_softmax(z, -1).swapaxes(0, 1), torch.tensor(np.maximum(LABELS, 0))
    expected = torch.nn.functional.ctc_loss(log_p, labels, torch.tensor(steps), lengths, reduction=reduction)
    value, pullback = CTC(reduction=reduction).forward({"labels": LABELS, "steps": np.array(steps)}, SCORES)
    u = RNG.normal(size=np.shape(value))
    expected.backward(torch.tensor(u))
    np.testing.assert_allclose(*noted("PyTorch", value, expected.detach()), rtol=1e-12)
    np.testing.assert_allclose(*noted("PyTorch", pullback(u)[1], z.grad), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("y_true", "message"), [
    (LABELS[:2], "y_true of shape (2, 2): must be 4 rows of integers < 3"),
    (LABELS + 2, "must be 4 rows of integers < 3"),
    (np.array([[0, 1]] * 4), "y_true: must not hold the blank, 0, nor a label after a negative one"),
    (np.array([[-1, 1]] * 4), "nor a label after a negative one"),
    ({"labels": LABELS, "steps": np.array([5, 6, 1, 1])}, "steps=[5 6 1 1]: must lie in 1..5"),
], ids=str)
def test_a_truth_that_makes_no_sense_is_refused(y_true, message):
    with pytest.raises(ValueError) as caught:
        CTC().forward(y_true, SCORES)
    assert message in str(caught.value)
