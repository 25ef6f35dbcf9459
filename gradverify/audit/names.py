"""Which names in the wild stand for a forward and its derivative: the tables of discovery."""

from __future__ import annotations

import re
from collections.abc import Collection

# Methods of a class, the derivative taking a cotangent (or nothing, in a loss).
LAYER_METHODS = (
    ("forward", "backward"),
    ("forward_pass", "backward_pass"),
    ("forward_propagation", "backward_propagation"),
    ("forward_prop", "backward_prop"),
    ("fprop", "bprop"),
    ("forward", "backprop"),
    ("forward", "backward_pass"),
    ("forward_pass", "backward"),
    ("forward", "back_propagation"),
    ("feedforward", "backprop"),
    ("feed_forward", "back_propagation"),
    ("__call__", "backward"),
    ("compute", "vjp"),
)

# Methods of a class, the derivative taking the inputs of the forward.
POINT_METHODS = (
    ("__call__", "gradient"),
    ("__call__", "grad"),
    ("__call__", "derivative"),
    ("__call__", "prime"),
    ("forward", "gradient"),
    ("forward", "grad"),
    ("forward", "derivative"),
    ("fn", "grad"),
    ("f", "df"),
    ("f", "f_prime"),
    ("f", "grad"),
    ("function", "derivative"),
    ("value", "gradient"),
    ("activation", "derivative"),
    ("activation", "gradient"),
    ("loss", "gradient"),
    ("loss", "grad"),
    ("loss", "derivative"),
    ("cost", "derivative"),
    ("cost", "gradient"),
)

_SUFFIXES = ("prime", "derivative", "deriv", "der", "grad", "gradient", "backward", "bwd")
_PREFIXES = ("d_", "de_", "grad_", "gradient_", "deriv_", "derivative_", "backward_", "d")

# Verbs before "grad": what these functions do to gradients is no derivative of theirs.
_VERBS = {
    "zero",
    "clip",
    "get",
    "set",
    "add",
    "apply",
    "has",
    "requires",
    "no",
    "enable",
    "check",
    "update",
    "reset",
    "plot",
    "print",
    "init",
    "test",
    "numerical",
    "numeric",
    "estimate",
    "approx",
    "compute",
    "eval",
    "accumulate",
}

_CHECKS = ("test_", "check_", "numerical_", "numeric_")

_NOT_LAYERS = re.compile(r"hmm|markov|viterbi|baum|optimi[sz]er|scheduler", re.IGNORECASE)

# Bases whose classes another adapter than NumPy's has to run.
FRAMEWORK_BASES = {
    "torch": "PyTorch",
    "tensorflow": "TensorFlow",
    "keras": "Keras",
    "jax": "JAX",
    "flax": "JAX",
}


def is_layer_name(name: str) -> bool:
    """Whether a class of this name can be a layer: forward-backward of a Markov model is something else."""
    return _NOT_LAYERS.search(name) is None


def cotangent_partners(name: str, known: Collection[str]) -> list[str]:
    """The functions among `known` that by name pull a cotangent back through `name`.

    >>> cotangent_partners("conv_forward_naive", ["conv_backward_naive", "conv_backward"])
    ['conv_backward_naive']
    """
    partners = []
    for word, opposite in (("forward", "backward"), ("fwd", "bwd"), ("fprop", "bprop")):
        mirrored = name.replace(word, opposite)
        if word in name and name not in (word, f"{word}_pass") and not name.startswith(_CHECKS):
            partners += [other for other in known if other == mirrored or other.startswith(f"{mirrored}_")]
    return partners


def point_partners(name: str, known: Collection[str]) -> list[str]:
    """The functions among `known` that by name are the derivative of `name`.

    >>> point_partners("sigmoid", ["sigmoid_prime", "dsigmoid", "sigmoids"])
    ['sigmoid_prime', 'dsigmoid']
    """
    if name.strip("_").lower() in _VERBS or name.startswith(_CHECKS):
        return []
    spellings = {f"{name}_{suffix}" for suffix in _SUFFIXES} | {prefix + name for prefix in _PREFIXES}
    spellings |= {f"{name}{suffix.capitalize()}" for suffix in _SUFFIXES}
    return [other for other in known if other in spellings]
