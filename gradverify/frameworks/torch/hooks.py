"""Hooks that the user put on tensors and modules: what training sees is the gradient after them.

The code is run on stand-ins for its parameters, which have none of these hooks. Those of `register_hook` are put
on every stand-in. Those of `register_post_accumulate_grad_hook` act on ``.grad``: they are called on a copy of
the stand-in with the gradient as its ``.grad``, and what they leave there is the gradient. One that takes it away
(an optimizer's step in the backward) or raises on a copy is not judged, and a note says so.
"""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from gradverify.frameworks.torch.traces import without_traces

Hook = Callable[..., Any]
_OF_MODULES = ("_backward_hooks", "_backward_pre_hooks")


@dataclass(frozen=True)
class Hooks:
    """The hooks by the name of the leaf they were put on, and the modules whose backward passes have some.

    `tensors` are all that a hook may hold: the parameters themselves, kept from what a hook does to them.
    """

    before: Mapping[str, Sequence[Hook]] = field(default_factory=dict)
    after: Mapping[str, Sequence[Hook]] = field(default_factory=dict)
    modules: Mapping[str, nn.Module] = field(default_factory=dict)
    tensors: Sequence[Tensor] = ()
    aside: dict[str, str] = field(default_factory=dict)  # leaf: why the hooks after its accumulation are not judged

    def __bool__(self) -> bool:
        return bool(self.before or self.after or self.modules)

    def register(self, given: Mapping[str, Tensor]) -> None:
        """Put the hooks of each tensor on what stands in for it, where that asks for a gradient."""
        for name, hooks in self.before.items():
            if name in given and given[name].requires_grad:
                for hook in hooks:
                    given[name].register_hook(hook)

    def accumulate(self, leaves: Mapping[str, Tensor], found: dict[str, Tensor | None]) -> None:
        """Put what stands in ``.grad`` after the hooks that wait for it in the place of each gradient."""
        with kept(self.tensors):  # around all of them: it looks at every parameter
            for name in self.after:
                gradient = found.get(name)
                if gradient is not None:
                    found[name] = self._accumulated(name, leaves[name], gradient)

    def _accumulated(self, name: str, leaf: Tensor, gradient: Tensor) -> Tensor:
        stand_in = leaf.detach().clone().requires_grad_()
        stand_in.grad = gradient.detach().clone()
        try:
            for hook in self.after.get(name, ()):
                hook(stand_in)
        except Exception as error:  # one that looks its parameter up does not find a copy
            self.aside[name] = f"it raises {type(error).__name__} on a copy of the parameter"
            return gradient
        if stand_in.grad is None:
            self.aside[name] = "it takes the gradient away"
            return gradient
        return stand_in.grad

    @contextlib.contextmanager
    def untraced(self) -> Iterator[None]:
        """What the hooks write to besides the gradient is afterwards as it was before."""
        of_modules = [getattr(part, kind).values() for part in self.modules.values() for kind in _OF_MODULES]
        every = [hook for hooks in (*self.before.values(), *self.after.values(), *of_modules) for hook in hooks]
        with without_traces(every):
            yield

    def notes(self) -> tuple[str, ...]:
        """A sentence on the hooks of each kind, and of each fate."""
        judged = {n: hooks for n, hooks in {**self.before, **self.after}.items() if n not in self.aside}
        found = {"judged as {} leaves it": judged}
        for why in dict.fromkeys(self.aside.values()):
            sentence = f"judged as before {{}} acts on .grad: {why}"
            found[sentence] = {n: self.after[n] for n, own in self.aside.items() if own == why}
        return tuple(f"{_listed(own)}: {how.format(_named(_distinct(own)))}" for how, own in found.items() if own)


def hooks_of(tensors: Mapping[str, Tensor], modules: Mapping[str, nn.Module]) -> Hooks:
    """The hooks of the leaves, given by name as the user made them, and of all parts of the modules."""
    # No public name lists a tensor's or a module's hooks.
    before = {name: tuple(own.values()) for name, t in tensors.items() if (own := t._backward_hooks)}  # noqa: SLF001
    after = {name: tuple(own.values()) for name, t in tensors.items() if (own := _after(t))}
    parts = {f"{prefix}.{own}".strip(".") or type(part).__name__: part
             for prefix, module in modules.items() for own, part in module.named_modules()}
    hooked = {name: part for name, part in parts.items() if any(getattr(part, kind) for kind in _OF_MODULES)}
    every = [p for module in modules.values() for p in module.parameters()] if after else []
    return Hooks(before, after, hooked, every)


def _after(tensor: Tensor) -> Mapping[Any, Hook]:
    return getattr(tensor, "_post_accumulate_grad_hooks", None) or {}


def _listed(leaves: Iterable[str]) -> str:
    first, *more = leaves
    rest = f", {', '.join(more)}" if len(more) < 3 else f", {more[0]}, {more[1]} and {len(more) - 2} more"
    return f"the gradients of {first}{rest if more else ''}" if more else f"the gradient of {first}"


def _distinct(own: Mapping[str, Sequence[Hook]]) -> list[Hook]:
    return list({_place(hook): hook for hooks in own.values() for hook in hooks}.values())


def _named(hooks: Sequence[Hook]) -> str:
    """The hooks as whoever looks for them would call them, with the line they are on."""
    return "the hook " + ", ".join(map(_place, hooks))


def _place(hook: Hook) -> str:
    plain = getattr(hook, "func", hook)
    code = getattr(plain, "__code__", None)
    name = getattr(plain, "__name__", type(plain).__name__)
    return f"`{name}`" + (f" (line {code.co_firstlineno} of {code.co_filename.rsplit('/', 1)[-1]})" if code else "")


@contextlib.contextmanager
def kept(tensors: Sequence[Tensor]) -> Iterator[None]:
    """The user's own parameters without their ``.grad``, so that no optimizer moves them; afterwards as before."""
    before = [(t, t.grad, t.detach().clone()) for t in tensors]
    for t, _, _ in before:
        t.grad = None
    try:
        yield
    finally:
        for t, gradient, value in before:
            if not torch.equal(t, value):
                t.data.copy_(value)
            t.grad = gradient


@contextlib.contextmanager
def lifted(modules: Sequence[nn.Module]) -> Iterator[None]:
    """The modules without the hooks of their backward passes; afterwards as before."""
    before = [(part, kind, getattr(part, kind)) for part in modules for kind in _OF_MODULES]
    for part, kind, _ in before:
        setattr(part, kind, OrderedDict())
    try:
        yield
    finally:
        for part, kind, hooks in before:
            setattr(part, kind, hooks)


def lacking(hooks: Hooks, leaf: str) -> Iterator[tuple[str, Hooks, Sequence[nn.Module]]]:
    """First without any hook, then without those in one place that reach the leaf.

    In words, with the hooks that are left and the modules to lift theirs from.
    """
    yield "several hooks together", Hooks(), tuple(hooks.modules.values())
    own = next((n for n in {**hooks.before, **hooks.after} if leaf in (n, f"{n}.real", f"{n}.imag")), "")
    if own in hooks.before:
        yield f"{_named(hooks.before[own])} on {own}", replace(hooks, before=_but(hooks.before, own)), ()
    if own in hooks.after:
        yield f"{_named(hooks.after[own])} on {own}", replace(hooks, after=_but(hooks.after, own)), ()
    for name, part in hooks.modules.items():
        found = [hook for kind in _OF_MODULES for hook in getattr(part, kind).values()]
        yield f"{_named(found)} on the backward pass of {name}", hooks, (part,)


def _but(hooks: Mapping[str, Sequence[Hook]], name: str) -> dict[str, Sequence[Hook]]:
    return {other: own for other, own in hooks.items() if other != name}
