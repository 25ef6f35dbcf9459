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
    ("forward_pass", "backprop"),
    ("forward_propagate", "backward_propagate"),
    ("forward_propagate", "back_propagate"),
    ("forward_propagation", "back_propagation"),
    ("forward_propagation", "backpropagation"),
    ("_forward", "_backward"),
    ("_forward_pass", "_backward_pass"),
    ("_forward_propagation", "_backward_propagation"),
    ("fwd", "bwd"),
    ("forward", "backpropagate"),
    ("feedforward", "backpropagate"),
    ("feed_forward", "backpropagate"),
    ("feed_forward", "backprop"),
    ("feed_forward", "feed_backward"),
    ("feedforward", "backward"),
    ("feedforward", "back_propagation"),
    ("activate", "backward"),
    ("call", "backward"),
    ("calculate", "backward"),
    ("predict", "backprop"),
    ("loss", "backward"),
    ("loss", "backprop"),
    ("output", "backprop"),
    ("get_output", "get_input_grad"),
    ("fprop", "input_grad"),
    ("forward", "back_propagation"),
    ("feedforward", "backprop"),
    ("feed_forward", "back_propagation"),
    ("__call__", "backward"),
    ("compute", "vjp"),
)

# A method beside a forward that takes one upstream gradient and nothing else, whatever it is called exactly.
BACKWARD_WORD = re.compile(
    r"_*(compute|calc(ulate)?|get|find|propagate|pass)?_?(the_)?(input_?|all_?|local_?)?(grad(ient)?s?|deltas?|errors?|back)"
    r"(_?(backwards?|prop\w*|pass|input))?|_*back(ward)?_?(pass_?)?(of_?|wrt_?|to_?)?(the_)?inputs?",
    re.IGNORECASE)  # fmt: skip

# Methods of a class, the derivative taking the inputs of the forward.
POINT_METHODS = (
    ("__call__", "gradient"),
    ("__call__", "grad"),
    ("__call__", "derivative"),
    ("__call__", "prime"),
    ("forward", "gradient"),
    ("forward", "grad"),
    ("forward", "derivative"),
    ("forward", "prime"),
    ("__call__", "df"),
    ("__call__", "deriv"),
    ("__call__", "diff"),
    ("fn", "grad"),
    ("func", "grad"),
    ("func", "deriv"),
    ("func", "derivative"),
    ("fn", "delta"),
    ("compute", "gradient"),
    ("compute", "derivative"),
    ("compute", "grad"),
    ("calc", "grad"),
    ("evaluate", "gradient"),
    ("evaluate", "derivative"),
    ("apply", "derivative"),
    ("apply", "gradient"),
    ("activate", "derivative"),
    ("activate", "prime"),
    ("activate", "gradient"),
    ("calculate", "derivative"),
    ("calculate", "gradient"),
    ("function", "gradient"),
    ("function", "prime"),
    ("fun", "grad"),
    ("fun", "jac"),
    ("activation", "prime"),
    ("activation", "activation_prime"),
    ("activation", "activation_derivative"),
    ("loss", "prime"),
    ("loss", "loss_prime"),
    ("loss", "loss_derivative"),
    ("loss", "input_grad"),
    ("loss", "delta"),
    ("cost", "grad"),
    ("cost", "prime"),
    ("error", "gradient"),
    ("error", "derivative"),
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

# A first derivative and the second one beside it.
SECOND_ORDER = (("grad", "grad2"), ("gradient", "hessian"), ("derivative", "second_derivative"), ("df", "d2f"),
                ("prime", "double_prime"), ("gradient", "hess"))  # fmt: skip

# ``sigmoid(x, derivative=True)``
FLAGS = {"derivative", "deriv", "prime", "grad", "gradient", "der", "derive", "derivate", "is_derivative", "diff",
         "derv", "return_derivative", "backward", "backprop", "is_grad", "compute_derivative"}  # fmt: skip

# A function of this name that returns a tuple may return its gradient beside its value ...
VALUED = re.compile(
    r"loss|cost|objective|value_and|val_and|with_grad|and_grad|_fg$|energy|svm|softmax|likelihood|nll|criterion"
)
# ... whatever it is called, where it calls the value one of these ...
VALUE_WORD = re.compile(
    r"(self\.)?((total|data|train|avg|mean|batch)_?)?(loss|cost|J|objective|nll|energy)(_?(value|val))?", re.IGNORECASE
)
# ... under one of these names.
GRADIENT_WORD = re.compile(
    r"(self\.)?(d[A-Z]\w*|d_?(x|w|b|theta|pred|logits|scores|out|input|y|z|params|y_?pred|yhat)\w*|grads?\w*"
    r"|gradients?\w*|d|delta|g|\w+_grads?|\w+_gradients?|nabla\w*|jac|gradOut)\b",
)

SWEEPS = ("backward", "backprop", "backpropagate", "back_propagate", "backward_pass", "backward_prop")
BEFORE = " before "  # ``return grads, cost``: "grads before cost"

_SUFFIXES = ("prime", "derivative", "deriv", "der", "derv", "grad", "gradient", "backward", "bwd", "diff", "jacobian",
             "d", "backprop")  # fmt: skip
_PREFIXES = ("d_", "de_", "grad_", "gradient_", "deriv_", "derivative_", "derivative_of_", "backward_", "diff_",
             "prime_", "d")  # fmt: skip

# Verbs before "grad": what these functions do to gradients is no derivative of theirs.
# ``compute_cost`` and ``compute_gradient``: one word for another.
_VALUE_WORDS = ("cost", "loss", "objective", "error", "likelihood", "energy")
_GRADIENT_WORDS = ("gradient", "gradients", "grad", "grads", "derivative", "deriv")
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


def is_check(name: str) -> bool:
    """Whether a function of this name tests or estimates derivatives and claims none."""
    return name.startswith(_CHECKS)


def is_layer_name(name: str) -> bool:
    """Whether a class of this name can be a layer: forward-backward of a Markov model is something else."""
    return _NOT_LAYERS.search(name) is None


def cotangent_partners(name: str, known: Collection[str]) -> list[str]:
    """The functions among `known` that by name pull a cotangent back through `name`.

    >>> cotangent_partners("conv_forward_naive", ["conv_backward_naive", "conv_backward"])
    ['conv_backward_naive']
    """
    partners = []
    for word, opposite in _MIRRORED:
        mirrored = name.replace(word, opposite)
        if word in name and name not in (word, f"{word}_pass") and not name.startswith(_CHECKS):
            partners += [other for other in known if other == mirrored or other.startswith(f"{mirrored}_")]
    return partners


_MIRRORED = (("forward", "backward"), ("fwd", "bwd"), ("fprop", "bprop"), ("forward", "gradient"), ("forward", "grad"),
             ("forward", "backprop"), ("forward", "derivative"))  # fmt: skip


def point_partners(name: str, known: Collection[str]) -> list[str]:
    """The functions among `known` that by name are the derivative of `name`.

    >>> point_partners("sigmoid", ["sigmoid_prime", "dsigmoid", "sigmoids"])
    ['sigmoid_prime', 'dsigmoid']
    """
    if name.strip("_").lower() in _VERBS or name.startswith(_CHECKS):
        return []
    spellings = {f"{name}_{suffix}" for suffix in _SUFFIXES} | {prefix + name for prefix in _PREFIXES}
    spellings |= {f"{name}{suffix.capitalize()}" for suffix in _SUFFIXES}
    spellings |= {name.replace(v, g, 1) for v in _VALUE_WORDS if v in name for g in _GRADIENT_WORDS} - {name}
    return [other for other in known if other in spellings]
