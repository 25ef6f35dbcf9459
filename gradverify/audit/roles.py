"""What each argument of a backward stands for, by its name: the cotangent, an input again, a learning rate ..."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from gradverify.targets.methods import required_arguments

_RATE = re.compile(r"lr|l_?rate|learn(ing)?_?rate|eta|step_?size|alpha|rate|nu", re.IGNORECASE)
_OPTIMIZER = re.compile(r"optimi[sz]er|optim|opt|updater", re.IGNORECASE)
_PENALTY = re.compile(
    r"reg(ulari[sz]ation|_?strength|_?lambda|_?param)?|l[12]_?(reg|lambda|penalty)|weight_?decay|wd|lam(b?da)?|lambd",
    re.IGNORECASE,
)
_CACHE = re.compile(r"cache[sd]?|ctx|context|saved|residuals?|memory|tape|store|\w+_cache", re.IGNORECASE)
_OUTPUT = re.compile(r"out(put)?s?|y_?hat|y_?pred|preds?|predictions?|probs?|logits?|scores?|activations?"
                     r"|a_?out|result", re.IGNORECASE)
_COTANGENT = re.compile(
    r"d|[dD][A-Z]\w*|d_\w+|d(out|y|z|a|h|x|v|s|o|l)\w*|dLd\w+|g|gy|gout|g_\w+|grad\w*|\w+_?grads?|\w+_?gradients?"
    r"|up(stream)?\w*"
    r"|delta\w*|\w*_?delta|err(or)?s?\w*|\w+_?error|accum\w*|dvalues|cotangent|cot|ct|out_?bar|output_grad\w*|eta|loss",
)
_LABEL = re.compile(
    r"t|y|ys|labels?|targ(et)?s?|y_?true|truth|expected|desired\w*|y_?real|ground_?truth|gt", re.IGNORECASE
)
_STORE = re.compile(r"\w*(grads|gradients|grad_?dict|gradient_?dict|grad_?store)", re.IGNORECASE)
_COUNTER = re.compile(
    r"t|epoch|iteration|iter|step|n_?iter|layer_?(id|index|num)?|idx|index|batch_?(size|num)|m", re.IGNORECASE
)


_GREEK = ("eta", "alpha", "nu")  # learning rates to most, upstream gradients to some


def required_parameters(function: Callable[..., object]) -> list[str]:
    """The parameters without a default, those given by name too; the first one where all have one."""
    return required_arguments(function, keywords=True)


def roles_of_backward(names: Sequence[str], inputs: Sequence[str], beside: Sequence[str] = ()) -> tuple[str, ...]:
    """A role for each argument: ``cotangent``, ``rate``, ``optimizer``, ``cache``, ``output``, ``input:x`` ...

    A ``store`` is a dictionary that it writes gradients to, a ``penalty`` the factor of one. `beside` are the words, as
    far as they are known, under which the forward returns more than its output: ``kept:0`` is the first of those.

    At most one is the cotangent: the first that is called like one and is no input, else the first
    that is called like nothing known.

    >>> roles_of_backward(["dA", "learn_rate"], ["x"]), roles_of_backward(["x", "dout"], ["x"])
    (('cotangent', 'rate'), ('input:x', 'cotangent'))
    >>> roles_of_backward(["eta"], ["x"]), roles_of_backward(["dy", "eta"], ["x"])
    (('cotangent',), ('cotangent', 'rate'))
    >>> roles_of_backward(["deltas", "fwd_state"], ["x"], ["fwd_state"])
    ('cotangent', 'kept:0')
    >>> roles_of_backward(["x"], ["x"]), roles_of_backward(["y", "y_pred"], ["y", "y_pred"])
    (('cotangent',), ('input:y', 'input:y_pred'))
    """
    roles = [_role(name, inputs) for name in names]
    if len(names) == 1 and roles[0].startswith("input:"):
        return ("cotangent",)
    doubtful = [i for i, (n, r) in enumerate(zip(names, roles, strict=True)) if r == "rate" and n.strip("_") in _GREEK]
    if doubtful and not any(r == "" for r in roles) and (len(names) == 1 or roles.count("rate") > 1):
        roles[doubtful[0]] = "cotangent"  # backward(eta), backward(eta, lr): nothing else can be
    likely = [i for i, (n, r) in enumerate(zip(names, roles, strict=True)) if r == "" and _COTANGENT.fullmatch(n)]
    unknown = [i for i, r in enumerate(roles) if r == ""]
    for i in (likely or unknown)[:1] if "cotangent" not in roles else ():
        roles[i] = "cotangent"
    for i in [i for i, r in enumerate(roles) if r == ""]:
        roles[i] = _second_choice(names[i], inputs)
    rest = [i for i, r in enumerate(roles) if r == ""]
    for place, i in enumerate(rest):
        roles[i] = _kept(names[i], beside, place, len(rest)) or _last_choice(inputs)
    return tuple(roles)


def _kept(name: str, beside: Sequence[str], place: int, wanted: int) -> str:
    """Which of the things that a forward returns beside its output is meant: by its name, or all in their order."""
    if name in beside:
        return f"kept:{list(beside).index(name)}"
    if beside and wanted == len(beside):
        return f"kept:{place}"
    return "cache" if beside and wanted == 1 else ""


def _role(name: str, inputs: Sequence[str]) -> str:
    bare = name.strip("_")
    if name in inputs:
        return f"input:{name}"
    for role, pattern in (("rate", _RATE), ("optimizer", _OPTIMIZER), ("cache", _CACHE), ("penalty", _PENALTY)):
        if pattern.fullmatch(bare) and not (role == "rate" and bare in ("eta", "alpha", "nu") and not inputs):
            return role
    return "output" if _OUTPUT.fullmatch(bare) and not _COTANGENT.fullmatch(bare) else ""


def _second_choice(name: str, inputs: Sequence[str]) -> str:
    if _STORE.fullmatch(name):
        return "store"
    if name.lower() == "y" and inputs and not any(map(is_label, inputs)):
        return "output"
    if _LABEL.fullmatch(name):
        return "label"
    return "counter" if _COUNTER.fullmatch(name) else ""


def _last_choice(inputs: Sequence[str]) -> str:
    return f"input:{inputs[0]}" if inputs else "cotangent"


def is_cotangent(name: str) -> bool:
    """Whether an argument is by its name an upstream gradient."""
    return len(name) > 1 and is_called_cotangent(name)


def is_called_cotangent(name: str) -> bool:
    """The same, by a single letter too: ``g``, ``d``."""
    return _COTANGENT.fullmatch(name) is not None


def is_step(name: str) -> bool:
    """Whether an argument is by its name the size of a step, or shrinks what it steps from.

    >>> is_step("learning_rate"), is_step("weight_decay"), is_step("grad")
    (True, True, False)
    """
    return re.fullmatch(rf"{_RATE.pattern}|(weight_?)?decay(_?rate)?|momentum", name, re.IGNORECASE) is not None


def is_label(name: str) -> bool:
    """Whether an argument is by its name the truth that a prediction is compared with."""
    return _LABEL.fullmatch(name) is not None
