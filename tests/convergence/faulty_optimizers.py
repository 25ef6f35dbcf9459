"""Step functions that are wrong in the ways people get them wrong, each with the cause it must receive."""

from __future__ import annotations

import numpy as np

LR, B1, B2, MU, RHO, EPS, DECAY = 0.1, 0.9, 0.999, 0.9, 0.99, 1e-8, 0.1


def tree(update, slots=2):
    """A step function over a dict from ``update(w, g, slots, t) -> (w, slots)`` of one array."""

    def step(params, grads, state):
        t, kept = state or (0, {name: tuple(np.zeros_like(w) for _ in range(slots)) for name, w in params.items()})
        found = {name: update(w, grads[name], kept[name], t + 1) for name, w in params.items()}
        return {name: w for name, (w, _) in found.items()}, (t + 1, {name: s for name, (_, s) in found.items()})

    return step


def adam(correct_m=True, correct_v=True, late=0, root=True, size=np.square, keep=(B1, B2), eps=EPS, sign=-1.0,
         weights=(1 - B1, 1 - B2), along="m", of="g", stale=False, begin=0.0):
    def update(w, g, slots, t):
        m, v = slots
        m, v = m + begin * (t == 1), v + begin * (t == 1)
        old = v
        m = keep[0] * m + weights[0] * g
        v = keep[1] * v + weights[1] * size(m if of == "m" else g)
        used = old if stale and t > 1 else v
        m_hat = (m if along == "m" else g) / (1 - keep[0] ** (t + late) if correct_m else 1)
        v_hat = used / (1 - keep[1] ** (t + late) if correct_v else 1)
        return w + sign * LR * m_hat / ((np.sqrt(v_hat) if root else v_hat) + eps), (m, v)

    return tree(update)


def dual_averaging(params, grads, state):
    """FTRL: parameters that minimise the sum of all linearised losses and proximal terms, from the sums alone."""
    sums = state or {name: (np.zeros_like(w), np.zeros_like(w) + 0.1) for name, w in params.items()}
    moved, kept = {}, {}
    for name, w in params.items():
        z, n = sums[name]
        more = n + grads[name] ** 2
        z = z + grads[name] - (np.sqrt(more) - np.sqrt(n)) / LR * w
        moved[name], kept[name] = -LR * z / np.sqrt(more), (z, more)
    return moved, kept


def coupled_adamw(w, g, slots, t):
    m, v = slots
    g = g + DECAY * w
    m, v = B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g * g
    return w - LR * (m / (1 - B1**t)) / (np.sqrt(v / (1 - B2**t)) + EPS), (m, v)


def growing_decay(w, g, slots, t):
    return w + LR * DECAY * w - LR * g, slots


def velocity(direction):
    def update(w, g, slots, t):
        v, step = direction(g, slots[0])
        return w - LR * step, (v,)

    return tree(update, 1)


def rms(size=np.square, root=np.sqrt, weight=1 - RHO):
    def update(w, g, slots, t):
        s = RHO * slots[0] + weight * size(g)
        return w - LR * g / (root(s) + EPS), (s,)

    return tree(update, 1)


def adagrad(size=np.square, root=np.sqrt):
    def update(w, g, slots, t):
        s = slots[0] + size(g)
        return w - LR * g / (root(s) + EPS), (s,)

    return tree(update, 1)


_moments = {}


def global_moments(params, grads, state):
    for name, g in grads.items():
        _moments[name] = MU * _moments.get(name, 0.0) + g
    return {name: w - LR * _moments[name] for name, w in params.items()}, state


def default_argument(params, grads, state, memory={}):  # noqa: B006 - the mistake
    for name, g in grads.items():
        memory[name] = MU * memory.get(name, 0.0) + g
    return {name: w - LR * memory[name] for name, w in params.items()}, state


def by_position(params, grads, state):
    """The first leaf has momentum, the others have not."""
    v = MU * (0.0 if state is None else state) + next(iter(grads.values()))
    moved = {name: w - LR * grads[name] for name, w in params.items()}
    first = next(iter(params))
    return {**moved, first: params[first] - LR * v}, v


def clips_in_place(params, grads, state):
    for g in grads.values():
        np.clip(g, -0.5, 0.5, out=g)
    return {name: w - LR * grads[name] for name, w in params.items()}, state


def last_leaf_forgotten(params, grads, state):
    *moving, last = params
    return {**{name: params[name] - LR * grads[name] for name in moving}, last: params[last]}, state


def ascent(params, grads, state):
    return {name: w + LR * grads[name] for name, w in params.items()}, state


def wrong_rate(params, grads, state):
    return {name: w - LR**2 * grads[name] for name, w in params.items()}, state


def mean_gradient(params, grads, state):
    return {name: w - LR * grads[name].mean() for name, w in params.items()}, state


def first_row_only(params, grads, state):
    moved = {name: w.copy() for name, w in params.items()}
    for name, w in moved.items():
        w[0] -= LR * grads[name][0]
    return moved, state


def constant_added(params, grads, state):
    return {name: w - LR * (grads[name] + 1e-3) for name, w in params.items()}, state


def nesterov_twice(g, v):
    v = MU * v + g
    return v, g + MU * MU * v


# name -> (step function, the keywords a user would give, the cause it must receive)
FAULTY = {
    "no bias correction": (adam(correct_m=False, correct_v=False), {}, "no-bias-correction"),
    "first moment corrected only": (adam(correct_v=False), {}, "bias-correction-of-m-only"),
    "second moment corrected only": (adam(correct_m=False), {}, "bias-correction-of-v-only"),
    "step count starts at 2": (adam(late=1), {}, "time-off-by-one"),
    "step count starts at 0": (adam(late=-1), {}, "not-finite"),
    "no root": (adam(root=False), {}, "without-root"),
    "|g| for g^2": (adam(size=np.abs), {}, "size-not-square"),
    "m^2 for g^2": (adam(of="m"), {}, "square-of-moment"),
    "gradient for moment": (adam(along="g"), {}, "gradient-not-moment"),
    "betas swapped": (adam(keep=(B2, B1), weights=(1 - B2, 1 - B1)), {}, "betas-swapped"),
    "moment not averaged": (adam(weights=(1.0, 1 - B2)), {"learning_rate": LR}, "another-rate"),
    "square not averaged": (adam(weights=(1 - B1, 1.0)), {"learning_rate": LR}, "another-rate"),
    "second moment one step late": (adam(stale=True), {}, "second-moment-late"),
    "no eps": (adam(eps=0.0), {}, "not-finite"),
    "Adam ascends": (adam(sign=1.0), {}, "ascends"),
    "AdamW with an L2 penalty": (tree(coupled_adamw), {"rule": "adamw"}, "decay-coupled"),
    "decay with the wrong sign": (tree(growing_decay), {}, "decay-grows"),
    "old velocity subtracted": (velocity(lambda g, v: (g - MU * v,) * 2), {}, "momentum-sign"),
    "Nesterov's factor forgotten": (velocity(lambda g, v: (MU * v + g, g + MU * v + g)), {}, "look-ahead"),
    "Nesterov's factor twice": (velocity(nesterov_twice), {"rule": "nesterov"}, "unknown-rule"),
    "velocity one step late": (velocity(lambda g, v: (MU * v + g, v)), {}, "velocity-late"),
    "momentum never kept": (velocity(lambda g, v: (0 * v, MU * v + g)), {"rule": "momentum"}, "another-rule"),
    "RMSprop without root": (rms(root=lambda s: s), {}, "rms-without-root"),
    "RMSprop of |g|": (rms(size=np.abs), {}, "rms-of-size"),
    "RMSprop not averaged": (rms(weight=1.0), {"learning_rate": LR}, "another-rate"),
    "Adagrad without root": (adagrad(root=lambda s: s), {}, "ada-without-root"),
    "Adagrad of |g|": (adagrad(size=np.abs), {}, "ada-of-size"),
    "moments in a global": (global_moments, {}, "hidden-state"),
    "moments in a default argument": (default_argument, {}, "hidden-state"),
    "moments by position": (by_position, {}, "order-matters"),
    "gradient clipped in place": (clips_in_place, {}, "gradient-changed"),
    "a leaf forgotten": (last_leaf_forgotten, {}, "leaf-not-stepped"),
    "gradient ascent": (ascent, {}, "ascends"),
    "rate squared": (wrong_rate, {"learning_rate": LR}, "another-rate"),
    "mean over the leaf": (mean_gradient, {"rule": "sgd"}, "unknown-rule"),
    "first row only": (first_row_only, {}, "entries-treated-apart"),
    "a constant added": (constant_added, {}, "moves-without-gradient"),
    "a small constant added": (tree(lambda w, g, s, t: (w - LR * (g + 1e-4), s)), {}, "moves-without-gradient"),
    "moments start at one": (adam(begin=1.0), {}, "moves-without-gradient"),
    "parameters forgotten": (tree(lambda w, g, s, t: (-LR * g, s)), {}, "decay-grows"),
    "gradients summed": (adam(keep=(1 - 1e-16,) * 2, weights=(1.0, 1.0), correct_m=False, correct_v=False), {},
                         "gradients-summed"),
}

RIGHT = {
    "sgd": (lambda p, g, s: ({n: w - LR * g[n] for n, w in p.items()}, s), {"learning_rate": LR}),
    "sgd of one array": (lambda w, g, s: (w - LR * g, s), {"rule": "sgd"}),
    "momentum": (velocity(lambda g, v: (MU * v + g,) * 2), {"rule": "momentum"}),
    "averaged momentum": (velocity(lambda g, v: (MU * v + (1 - MU) * g,) * 2), {}),
    "nesterov": (velocity(lambda g, v: (MU * v + g, g + MU * (MU * v + g))), {"rule": "nesterov"}),
    "adam": (adam(), {"rule": "adam", "learning_rate": LR}),
    "adam, other betas": (adam(keep=(0.8, 0.95), weights=(0.2, 0.05)), {}),
    "rmsprop": (rms(), {}),
    "adagrad": (adagrad(), {"rule": "adagrad"}),
    "adam, moments that start above zero": (adam(begin=1e-6), {}),
    "dual averaging": (dual_averaging, {"learning_rate": LR}),
    "sgd with decay": (tree(lambda w, g, s, t: ((1 - LR * DECAY) * w - LR * g, s)), {}),
}
