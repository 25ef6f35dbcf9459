"""The gradient checkers people use today, each asked about one NumPy target: True is a pass.

The target is wrapped as each of them wants it: its leaves go in as arrays, its outputs come out as one vector, and
its own backward is the derivative on trial. All run with the settings that their documentation shows.
"""

from __future__ import annotations

import signal

import autograd.extend
import autograd.test_util
import jax
import jax.test_util
import numpy as np
import scipy.optimize
import torch
from torch.autograd.gradcheck import GradcheckError

from gradverify.checking import make_options
from gradverify.targets import make_targets

jax.config.update("jax_enable_x64", True)


def wrapped(obj, inputs, options):
    """(f, vjp, xs): ``f(*xs)`` a vector, ``vjp(u, *xs)`` one array for each x."""
    target, *_ = make_targets(obj, inputs, make_options(dict(options)))
    names = target.claimed or tuple(target.point)

    def at(xs):
        return {**target.point, **{n: np.array(x, dtype=target.point[n].dtype) for n, x in zip(names, xs, strict=True)}}

    def f(*xs):
        return np.concatenate([np.ravel(np.asarray(y, dtype=float)) for y in target.forward(at(xs)).values()])

    def vjp(u, *xs):
        outputs, pullback = target.linearize(at(xs), None)
        cuts = np.cumsum([np.size(y) for y in outputs.values()])[:-1]
        parts = [np.reshape(p, np.shape(y)).astype(np.asarray(y).dtype) for p, y in zip(np.split(np.asarray(u), cuts), outputs.values(), strict=True)]
        g = pullback(dict(zip(outputs, parts, strict=True)))
        return [np.zeros(x.shape) if g.get(n) is None else np.asarray(g[n], dtype=float) for n, x in zip(names, xs, strict=True)]

    return f, vjp, [np.asarray(target.point[n], dtype=float) for n in names]


def gradcheck(f, vjp, xs, *, fast):
    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *ts):
            ctx.save_for_backward(*ts)
            return torch.as_tensor(f(*(t.numpy() for t in ts)))

        @staticmethod
        def backward(ctx, u):
            return tuple(torch.as_tensor(g) for g in vjp(u.numpy(), *(t.numpy() for t in ctx.saved_tensors)))

    return torch.autograd.gradcheck(Function.apply, [torch.tensor(x, requires_grad=True) for x in xs], fast_mode=fast)


def jax_check_grads(f, vjp, xs):
    y = jax.ShapeDtypeStruct(f(*xs).shape, np.float64)
    shapes = [jax.ShapeDtypeStruct(x.shape, np.float64) for x in xs]

    @jax.custom_vjp
    def function(*args):
        return jax.pure_callback(f, y, *args)

    function.defvjp(lambda *a: (function(*a), a), lambda a, u: tuple(jax.pure_callback(vjp, shapes, u, *a)))
    jax.test_util.check_grads(function, xs, order=1, modes=["rev"])
    return True


def autograd_check_grads(f, vjp, xs):
    function = autograd.extend.primitive(f)
    makers = [lambda ans, *a, k=k: lambda u: vjp(u, *a)[k] for k in range(len(xs))]
    autograd.extend.defvjp(function, *makers)
    autograd.test_util.check_grads(function, modes=["rev"], order=1)(*xs)
    return True


def scalar(f, vjp, xs):
    """<u, f> of one flat vector with its gradient: what the checkers of scalar functions take."""
    u = np.random.default_rng(0).normal(size=f(*xs).shape)
    cuts = np.cumsum([x.size for x in xs])[:-1]
    parts = lambda flat: [p.reshape(x.shape) for p, x in zip(np.split(flat, cuts), xs, strict=True)]  # noqa: E731
    start = np.concatenate([x.ravel() for x in xs])
    return lambda z: u @ f(*parts(z)), lambda z: np.concatenate([g.ravel() for g in vjp(u, *parts(z))]), start


def scipy_check_grad(f, vjp, xs):
    phi, gradient, start = scalar(f, vjp, xs)
    return scipy.optimize.check_grad(phi, gradient, start) < 1e-5


def textbook(f, vjp, xs, h=1e-5):
    """|a - n| / max(|a|, |n|) of every entry by central differences; above 1e-4 is called wrong."""
    phi, gradient, start = scalar(f, vjp, xs)
    units = (np.arange(start.size) == k for k in range(start.size))
    numeric = np.array([(phi(start + h * e) - phi(start - h * e)) / (2 * h) for e in units])
    own = gradient(start)
    return np.max(np.abs(own - numeric) / np.maximum(np.maximum(np.abs(own), np.abs(numeric)), 1e-300), initial=0.0) < 1e-4


RIVALS = {
    "gradcheck, slow": lambda *case: gradcheck(*case, fast=False),
    "gradcheck, fast": lambda *case: gradcheck(*case, fast=True),
    "jax check_grads": jax_check_grads,
    "autograd check_grads": autograd_check_grads,
    "scipy check_grad": scipy_check_grad,
    "textbook rule": textbook,
}


# A checker that asks about one entry after the other does not get to the end of a large gradient.
MOST_SECONDS, MOST_ENTRIES = 10, 5000
ENTRYWISE = {"gradcheck, slow", "scipy check_grad", "textbook rule"}


class OutOfTimeError(Exception):
    """The checker was still at work after MOST_SECONDS."""


def out_of_time(*_):
    raise OutOfTimeError


def ask(name, case):
    """``pass``, ``fail``, or ``cannot`` where the checker does not take such a target, or not within the limits."""
    if name in ENTRYWISE and sum(x.size for x in case[2]) > MOST_ENTRIES:
        return "cannot"
    before = signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(MOST_SECONDS)
    try:
        with np.errstate(all="ignore"):
            return "pass" if RIVALS[name](*case) else "fail"
    except (AssertionError, GradcheckError):
        return "fail"
    except Exception:
        return "cannot"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
