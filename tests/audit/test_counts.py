"""Arguments whose use says what they are: a number of groups, a mask of labels, a vocabulary."""

from __future__ import annotations

import pytest

from gradverify.records import Verdict
from tests.projects import attempts

GROUPS = """
def grouped_forward(x, gamma, G):
    n, c = x.shape
    groups = x.reshape(n * G, c // G)
    scale = 1 / np.sqrt((groups ** 2).mean(axis=1, keepdims=True) + 1e-5)
    out = (groups * scale).reshape(n, c)
    return out * gamma, (groups, scale, out, gamma, G)
def grouped_backward(dout, cache):
    groups, scale, out, gamma, G = cache
    d = (dout * gamma).reshape(groups.shape)
    dx = scale * (d - groups * scale ** 2 * (d * groups).mean(axis=1, keepdims=True))
    return FACTOR * dx.reshape(out.shape), (dout * out).sum(axis=0)
"""
MASKED = """
def masked_loss(x, y, mask):
    n, t, v = x.shape
    z, labels, weights = x.reshape(n * t, v), y.reshape(n * t), mask.reshape(n * t)
    p = np.exp(z - z.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    loss = -np.sum(weights * np.log(p[np.arange(n * t), labels])) / n
    dz = p.copy()
    dz[np.arange(n * t), labels] -= 1
    dx = FACTOR * (dz * weights[:, None] / n).reshape(n, t, v)
    return loss, dx
"""
VOCABULARY = """
class Tagger:
    def __init__(self, word_to_idx, input_dim):
        self.start, self.null = word_to_idx["<START>"], word_to_idx["<NULL>"]
        self.params = {"W": np.random.randn(input_dim, len(word_to_idx))}
    def loss(self, features, labels):
        scores = features @ self.params["W"]
        p = np.exp(scores - scores.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        n = len(features)
        loss = -np.sum(np.log(p[np.arange(n), labels])) / n
        p[np.arange(n), labels] -= 1
        grads = {"W": FACTOR * features.T @ p / n}
        return loss, grads
"""
WRITTEN = {"groups": GROUPS, "masked": MASKED, "vocabulary": VOCABULARY}


@pytest.mark.parametrize(("factor", "verdict"), [("1", Verdict.PASS), ("1.1", Verdict.FAIL)])
@pytest.mark.parametrize("code", WRITTEN.values(), ids=WRITTEN)
def test_what_is_counted_is_given_as_a_number(tmp_path, monkeypatch, code, factor, verdict):
    (entry,) = attempts(tmp_path, monkeypatch, code.replace("FACTOR", factor)).values()
    assert entry.verdict is verdict
