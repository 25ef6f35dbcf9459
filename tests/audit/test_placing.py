"""Where a backward puts the gradient of an input, among what it returns."""

import numpy as np
import pytest

from gradverify.audit.placing import place_of_input

X, W, B = np.ones((2, 5)), np.ones((5, 3)), np.ones(3)
ALIKE = np.ones((2, 5))


@pytest.mark.parametrize(("returned", "place"), [
    (X, ("whole", 0)),
    ((X, W, B), ("returned", 0)),
    ((W, B, X), ("returned", 2)),
    ((X, (W, B)), ("returned", 0)),
    ({"dW": W, "dx": X}, ("key", "dx")),
    ({"dW": W, "db": B}, None),
    ([[W, W], [B, ALIKE]], None),  # a list for each kind of parameters: a bias of many samples only looks like x
    ((W, B), None),
])  # fmt: skip
def test_place_of_an_input(returned, place):
    assert place_of_input("x", X, returned, {}, ["x"]) == place
