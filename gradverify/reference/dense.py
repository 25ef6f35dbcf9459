"""The fully connected layer: every output is a weighted sum of every input, z = w x + b."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gradverify.reference.initialisers import draw, require_initialiser
from gradverify.reference.layer import Array, Params, Pullback, require_size, shape_of


@dataclass(frozen=True)
class Dense:
    """y_bj = sum_i x_bi W_ij + b_j, with x (..., i), W (i, j), b (j,), y (..., j).

    Each entry of the Jacobian is one factor of the sum, so with dy_bj = dL/dy_bj:

        dW_ij = sum_b x_bi dy_bj        what the weight was multiplied by, times what its product did to L
        db_j  = sum_b dy_bj             the bias is added to every row b, so the rows are summed
        dx_bi = sum_j dy_bj W_ij        back through the same weights, transposed

    Source: Rumelhart, Hinton and Williams, *Learning representations by back-propagating errors*, 1986.

    >>> x, params = np.array([[1.0, 2.0]]), {"W": np.array([[3.0], [4.0]]), "b": np.array([5.0])}
    >>> y, pullback = Dense(2, 1).forward(params, x)
    >>> y
    array([[16.]])
    >>> dparams, dx = pullback(np.array([[1.0]]))
    >>> dparams["W"].ravel(), dparams["b"], dx
    (array([1., 2.]), array([1.]), array([[3., 4.]]))
    """

    inputs: int
    units: int
    bias: bool = True
    initialiser: str = "glorot_uniform"

    def __post_init__(self) -> None:
        require_size("inputs", self.inputs)
        require_size("units", self.units)
        require_initialiser(self.initialiser)

    def init(self, rng: np.random.Generator) -> Params:
        W = draw(self.initialiser, rng, (self.inputs, self.units), self.inputs, self.units)
        return {"W": W, "b": np.zeros(self.units)} if self.bias else {"W": W}

    def forward(self, params: Params, x: Array) -> tuple[Array, Pullback]:
        self._require_inputs(x)
        W = params["W"]

        def pullback(dy: Array) -> tuple[Params, Array]:
            rows, drows = np.reshape(x, (-1, self.inputs)), np.reshape(dy, (-1, self.units))
            dparams = {"W": rows.T @ drows}
            if self.bias:
                dparams["b"] = np.sum(drows, axis=0)
            return dparams, dy @ W.T

        return self._affine(params, x), pullback

    def pushforward(self, params: Params, x: Array, dparams: Params, dx: Array) -> tuple[Array, Array]:
        """dy_bj = sum_i (dx_bi W_ij + x_bi dW_ij) + db_j, the product rule."""
        self._require_inputs(x)
        return self._affine(params, x), dx @ params["W"] + self._affine(dparams, x)

    def _affine(self, params: Params, x: Array) -> Array:
        z = x @ params["W"]
        return z + params["b"] if self.bias else z

    def _require_inputs(self, x: Array) -> None:
        if shape_of(x)[-1:] != (self.inputs,):
            raise ValueError(f"x of shape {shape_of(x)}: its last axis must be {self.inputs} for {self}")
