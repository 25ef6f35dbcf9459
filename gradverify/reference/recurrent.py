"""Recurrent layers: one cell, applied at every step of a sequence to its input and to its own last state.

    z_t = x_t W + b + h_(t-1) U (+ c)     then, entry by entry,

    RNN    h = f(z)                                                                       Elman (1990)
    LSTM   i, f, g, o = parts of z;  C = sigmoid(f) C + sigmoid(i) tanh(g);  h = sigmoid(o) tanh(C)
    GRU    r, u = sigmoid of parts of z;  n = tanh(its x part + r its h part);  h = (1 - u) n + u h

*Backpropagation through time* is the chain rule over the steps, last to first: dh_t is what the output of step t
receives plus what step t + 1 sends back, and the parameters, used at every step, receive the sum of all.
Sources: Werbos (1990); Hochreiter and Schmidhuber (1997) with the forget gate of Gers et al. (2000); Cho et al.
(2014), where r multiplies after the product with U as in the frameworks.

The input is an array x (n, steps, inputs), or a dict with more: "h" (and "c" for the LSTM) (n, units) the initial
state, zero where none is given, and "mask" (n, steps), booleans: at a masked step the state stays as it is, so
what stands in x there has no effect. dx has the same form as x.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from gradverify.reference.activations import FUNCTIONS, sigmoid, tanh
from gradverify.reference.duals import push_forward
from gradverify.reference.elementary import expit
from gradverify.reference.initialisers import draw, require_initialiser
from gradverify.reference.layer import Array, Params, Pullback, require_size, shape_of
from gradverify.reference.trees import added

State: TypeAlias = tuple[Array, ...]
CellPullback: TypeAlias = Callable[[State], tuple[Params, Array, State]]
Cell: TypeAlias = Callable[[Params, Array, State], tuple[State, CellPullback]]
OUTPUTS = ("sequence", "last", "states")


def _affine(a: Array, W: Array, b: Array) -> tuple[Array, Callable[[Array], tuple[Array, Array, Array]]]:
    return a @ W + b, lambda dz: (np.swapaxes(a, 0, 1) @ dz, np.sum(dz, axis=0), dz @ np.swapaxes(W, 0, 1))


def _parts(z: Array, count: int) -> list[Array]:
    k = shape_of(z)[-1] // count
    return [z[:, j * k : (j + 1) * k] for j in range(count)]


def elman_cell(f: str) -> Cell:
    """The cell h' = f(x W + h U + b)."""

    def cell(params: Params, x: Array, state: State) -> tuple[State, CellPullback]:
        z, pull_z = _joint(params, x, state[0])
        h, times_slope = FUNCTIONS[f](z)

        def pullback(dstate: State) -> tuple[Params, Array, State]:
            dparams, dx, dh = pull_z(times_slope(dstate[0]))
            return dparams, dx, (dh,)

        return (h,), pullback

    return cell


def _joint(params: Params, x: Array, h: Array) -> tuple[Array, Callable[[Array], tuple[Params, Array, Array]]]:
    """What goes into the gates, z = x W + h U + b, and its pullback."""
    a, pull_a = _affine(x, params["W"], params["b"])
    U = params["U"]

    def pull(dz: Array) -> tuple[Params, Array, Array]:
        dW, db, dx = pull_a(dz)
        return {"W": dW, "U": np.swapaxes(h, 0, 1) @ dz, "b": db}, dx, dz @ np.swapaxes(U, 0, 1)

    return a + h @ U, pull


def lstm_cell(params: Params, x: Array, state: State) -> tuple[State, CellPullback]:
    """C' = sigmoid(f) C + sigmoid(i) tanh(g);  h' = sigmoid(o) tanh(C')."""
    h, c = state
    z, pull_z = _joint(params, x, h)
    (i, di), (f, df), (g, dg), (o, do) = (
        gate(part) for gate, part in zip((sigmoid, sigmoid, tanh, sigmoid), _parts(z, 4), strict=True))
    new = f * c + i * g
    out, dout = tanh(new)

    def pullback(dstate: State) -> tuple[Params, Array, State]:
        dh = dstate[0]
        dnew = dstate[1] + dout(o * dh)
        dz = np.concatenate([di(g * dnew), df(c * dnew), dg(i * dnew), do(out * dh)], axis=-1)
        dparams, dx, dh = pull_z(dz)
        return dparams, dx, (dh, f * dnew)

    return (o * out, new), pullback


def gru_cell(params: Params, x: Array, state: State) -> tuple[State, CellPullback]:
    """With a = x W + b and q = h U + c: h' = (1 - u) n + u h, n = tanh(a_n + r q_n)."""
    (h,) = state
    a, pull_a = _affine(x, params["W"], params["b"])
    q, pull_q = _affine(h, params["U"], params["c"])
    (ar, au, an), (qr, qu, qn) = _parts(a, 3), _parts(q, 3)
    (r, dr), (u, du) = sigmoid(ar + qr), sigmoid(au + qu)
    n, dn = tanh(an + r * qn)
    keep_new = expit(-(au + qu))  # 1 - u, with digits left where u is nearly 1

    def pullback(dstate: State) -> tuple[Params, Array, State]:
        dh = dstate[0]
        dan = dn(keep_new * dh)
        dar, dau = dr(qn * dan), du((h - n) * dh)
        dW, db, dx = pull_a(np.concatenate([dar, dau, dan], axis=-1))
        dU, dc, back = pull_q(np.concatenate([dar, dau, r * dan], axis=-1))
        return {"W": dW, "U": dU, "b": db, "c": dc}, dx, (back + u * dh,)

    return (keep_new * n + u * h,), pullback


@dataclass(frozen=True)
class _Scan:
    """A cell over the steps of a sequence: `names` are those of its states, the first is the output."""

    cell: Cell
    names: tuple[str, ...]
    units: int
    output: str

    def forward(self, params: Params, x: Any) -> tuple[Any, Pullback]:
        """All steps in order; the pullback takes them in reverse."""
        given = x if isinstance(x, Mapping) else {"x": x}
        mask, state = given.get("mask"), self._start(given)
        outputs, pullbacks = list[Array](), list[CellPullback]()
        for t in range(shape_of(given["x"])[1]):
            new, pull = self.cell(params, given["x"][:, t], state)
            state = new if mask is None else tuple(
                np.where(mask[:, t, None], a, b) for a, b in zip(new, state, strict=True))
            outputs.append(state[0])
            pullbacks.append(pull)

        def pullback(dy: Any) -> tuple[Params, Any]:
            dparams, dx, dstart = self._backwards(dy, pullbacks, mask, state)
            found = {"x": dx, **dict(zip(self.names, dstart, strict=True))}
            return dparams, {name: found.get(name) for name in x} if isinstance(x, Mapping) else dx

        return self._output(np.stack(outputs, axis=1), state), pullback

    def _start(self, given: Mapping[str, Array]) -> State:
        n = shape_of(given["x"])[0]
        none = np.zeros_like(given["x"], shape=(n, self.units))
        return tuple(given.get(name, none) for name in self.names)

    def _output(self, y: Array, state: State) -> Any:
        if self.output == "states":
            return {"y": y, **dict(zip(self.names, state, strict=True))}
        return y if self.output == "sequence" else state[0]

    def _received(self, dy: Any, state: State) -> tuple[Array | None, State]:
        zeros = tuple(0 * part for part in state)
        if self.output == "states":
            return dy["y"], tuple(dy[name] for name in self.names)
        return (dy, zeros) if self.output == "sequence" else (None, (dy, *zeros[1:]))

    def _backwards(
        self, dy: Any, pullbacks: list[CellPullback], mask: Array | None, state: State
    ) -> tuple[Params, Array, State]:
        dsteps, dstate = self._received(dy, state)
        dparams: Params = None
        dx: list[Array] = []
        for t in reversed(range(len(pullbacks))):
            if dsteps is not None:
                dstate = (dstate[0] + dsteps[:, t], *dstate[1:])
            kept = dstate
            if mask is not None:
                dstate = tuple(np.where(mask[:, t, None], d, 0) for d in kept)
            its_dparams, dx_t, before = pullbacks[t](dstate)
            dparams = added(dparams, its_dparams)
            dx.append(dx_t)
            dstate = before if mask is None else tuple(
                b + np.where(mask[:, t, None], 0, k) for b, k in zip(before, kept, strict=True))
        return dparams, np.stack(dx[::-1], axis=1), dstate


def _require(layer: Any) -> None:
    require_size("inputs", layer.inputs)
    require_size("units", layer.units)
    require_initialiser(layer.initialiser)
    if layer.output not in OUTPUTS:
        raise ValueError(f"output={layer.output!r}: must be one of {', '.join(OUTPUTS)}")


def _init(layer: Any, rng: np.random.Generator, gates: int, biases: tuple[str, ...]) -> Params:
    """W by the layer's rule and orthogonal U, gate by gate, so that each gate has the variance of its own."""
    W = [draw(layer.initialiser, rng, (layer.inputs, layer.units), layer.inputs, layer.units) for _ in range(gates)]
    U = [draw("orthogonal", rng, (layer.units, layer.units), layer.units, layer.units) for _ in range(gates)]
    return {"W": np.concatenate(W, axis=1), "U": np.concatenate(U, axis=1),
            **{name: np.zeros(gates * layer.units) for name in biases}}


def _checked(layer: Any, x: Any) -> Any:
    given = x if isinstance(x, Mapping) else {"x": x}
    shape, known = shape_of(given["x"]), {"x", "mask", "h", "c"} if isinstance(layer, LSTM) else {"x", "mask", "h"}
    if len(shape) != 3 or shape[1] == 0 or shape[2] != layer.inputs:
        raise ValueError(f"x of shape {shape}: must be (n, steps, {layer.inputs}) with a step at least, for {layer}")
    wanted = {"mask": shape[:2], "h": (shape[0], layer.units), "c": (shape[0], layer.units)}
    for name in sorted(given.keys() - {"x"}):
        if name not in known or shape_of(given[name]) != wanted[name]:
            raise ValueError(f"{name} of shape {shape_of(given[name])}: x may have {sorted(known)}, "
                             f"mask {shape[:2]}, states {wanted['h']}")
    return x


@dataclass(frozen=True)
class RNN:
    """h_t = f(x_t W + h_(t-1) U + b); params W (inputs, units), U (units, units), b (units,).

    dh_(t-1) = f'(z_t) dh_t U^T at every step: after many, the gradient is multiplied by many factors of U, and
    vanishes or explodes unless they are near 1 in size (Bengio, Simard and Frasconi 1994). U starts orthogonal.
    `output` is "sequence", all h (n, steps, units); "last", the last one; "states", a dict of both.
    """

    inputs: int
    units: int
    activation: str = "tanh"
    output: str = "sequence"
    initialiser: str = "glorot_uniform"

    def __post_init__(self) -> None:
        _require(self)
        if self.activation not in FUNCTIONS:
            raise ValueError(f"activation={self.activation!r}: must be one of {', '.join(FUNCTIONS)}")

    def init(self, rng: np.random.Generator) -> Params:
        return _init(self, rng, 1, ("b",))

    def forward(self, params: Params, x: Any) -> tuple[Any, Pullback]:
        scan = _Scan(elman_cell(self.activation), ("h",), self.units, self.output)
        return scan.forward(params, _checked(self, x))

    pushforward = push_forward


@dataclass(frozen=True)
class LSTM:
    """Long short-term memory: what the cell state C keeps is decided by gates, and passes back as f dC.

    params W (inputs, 4 units), U (units, 4 units), b (4 units,), gates in the order i, f, g, o. The forget
    gate's bias starts at 1, so that the memory is open at first (Gers et al. 2000; Jozefowicz et al. 2015).
    """

    inputs: int
    units: int
    output: str = "sequence"
    initialiser: str = "glorot_uniform"

    def __post_init__(self) -> None:
        _require(self)

    def init(self, rng: np.random.Generator) -> Params:
        params = _init(self, rng, 4, ("b",))
        return {**params, "b": np.repeat([0.0, 1.0, 0.0, 0.0], self.units)}

    def forward(self, params: Params, x: Any) -> tuple[Any, Pullback]:
        return _Scan(lstm_cell, ("h", "c"), self.units, self.output).forward(params, _checked(self, x))

    pushforward = push_forward


@dataclass(frozen=True)
class GRU:
    """The gated recurrent unit: u mixes the old state with a new one, r decides what the new one sees of it.

    params W (inputs, 3 units), U (units, 3 units), b and c (3 units,), parts in the order r, u, n; c is the
    bias of the h part, which r multiplies.
    """

    inputs: int
    units: int
    output: str = "sequence"
    initialiser: str = "glorot_uniform"

    def __post_init__(self) -> None:
        _require(self)

    def init(self, rng: np.random.Generator) -> Params:
        return _init(self, rng, 3, ("b", "c"))

    def forward(self, params: Params, x: Any) -> tuple[Any, Pullback]:
        return _Scan(gru_cell, ("h",), self.units, self.output).forward(params, _checked(self, x))

    pushforward = push_forward
