"""What to call the constructor of a class with that nobody described: settings by name, sizes that go together."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np

from gradverify.audit.guesses import BATCH, CHANNELS, IN, functions_for, is_padding, is_size, settings_for, snake
from gradverify.audit.hints import dictionaries_for, told_in_words
from gradverify.audit.inputs import weights_for
from gradverify.audit.mined import example_calls, reads_attributes, told_length, words_for
from gradverify.audit.partners import concrete, objects_for
from gradverify.audit.settingup import SIZE_OF_INPUT, Previous, required_of
from gradverify.audit.stages import layers_for

_LARGE = 16


def calls_to_try(cls: type, seed: int, path: str) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """Arguments for a constructor, likeliest first: as its project calls it, its defaults, guesses by name.

    Sizes are small; two heads, told sizes and even ones come beside them.
    """
    rng = np.random.default_rng(seed)
    parameters = required_of(cls)
    small = _other_defaults(cls)
    if not parameters:
        if small:
            yield [], small
        yield [], {}
    yield from example_calls(cls, path) if path else ()
    yield from (([], values) for values in _in_heads(cls, parameters, small, rng))
    told = list(_told_sizes(cls))
    if not parameters:
        yield from (([], {**small, **sizes}) for sizes in told)
        return
    yield from (([], values) for values in weights_for(parameters, seed))
    first, *others = _diagonally([_choices(cls, parameter, parameters, rng) for parameter in parameters])
    variants = [(first, {}), *((first, sizes) for sizes in told), (_even(first), {}), *((o, {}) for o in others)]
    for values, sizes in variants:
        positional, named = _as_passed(parameters, values)
        yield positional, {**small, **named, **sizes}


def _as_passed(parameters: list[inspect.Parameter], values: tuple[Any, ...]) -> tuple[list[Any], dict[str, Any]]:
    """Values as a call passes them: by position, and by name what can only be passed so."""
    keyword = [p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters]
    positional = [v for v, k in zip(values, keyword, strict=True) if not k]
    return positional, {p.name: v for p, v, k in zip(parameters, values, keyword, strict=True) if k}


def _even(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same with even sizes, for code that cuts them in halves."""
    return tuple(v + v % 2 if type(v) is int and v > 1 else v for v in values)


def _in_heads(
    cls: type, parameters: list[inspect.Parameter], small: dict[str, Any], rng: np.random.Generator
) -> Iterator[dict[str, Any]]:
    """Two heads, and every size twice the usual one, for a class that splits what it is given among heads."""
    counts = {p.name: 2 for p in _constructor(cls) if _HEADS.fullmatch(snake(p.name)) and type(p.default) is not str}
    if not counts:
        return
    usual = {**small, **{p.name: _choices(cls, p, parameters, rng)[0] for p in parameters}}
    yield {**{n: 2 * v if type(v) is int and not _COUNTED.search(n) else v for n, v in usual.items()}, **counts}


_COUNTED = re.compile(r"layer|block|stage|depth|seed|axis", re.IGNORECASE)
_HEADS = re.compile(r"((n|num|number_of)_?)?(attention_?)?(heads?|groups?)(_?(n|num|count))?|h")


def _other_defaults(cls: type) -> dict[str, Any]:
    """Smaller values for the sizes among the defaults, 7 in place of 10000, and classes that work for abstract ones."""
    classes = {p.name: p.default for p in _constructor(cls) if isinstance(p.default, type) and p.default is not p.empty}
    better = {name: concrete(default) for name, default in classes.items() if concrete(default) is not default}
    large = [p for p in _constructor(cls) if type(p.default) is int and p.default > _LARGE and "seed" not in p.name]
    sizes = {value: 6 + i for i, value in enumerate(dict.fromkeys(p.default for p in large))}
    return {p.name: sizes[p.default] for p in large} | better


def _told_sizes(cls: type) -> Iterator[dict[str, Any]]:
    """Sizes of the input that a constructor would otherwise hear from the layer before: ``input_shape=None``."""
    open_ = [p for p in _constructor(cls) if p.default is None and SIZE_OF_INPUT.fullmatch(snake(p.name))]
    lengths = {told_length(cls, p.name) for p in open_}
    fitting = sorted(_INPUT_SHAPES, key=lambda shape: len(shape) not in lengths)
    for shape in fitting if any("shape" in p.name for p in open_) else _INPUT_SHAPES[:1]:
        if open_:
            yield {p.name: shape if "shape" in p.name else shape[-1] for p in open_}


_INPUT_SHAPES = ((IN,), (2, 6, 4, CHANNELS), (CHANNELS, 6, 4), (BATCH, IN))


def _choices(
    cls: type, parameter: inspect.Parameter, others: list[inspect.Parameter], rng: np.random.Generator
) -> list[Any]:
    dictionaries = dictionaries_for(cls, parameter.name, rng)
    if dictionaries:
        return [*dictionaries]
    words = list(words_for(cls, parameter.name))[:4]
    length = told_length(cls, parameter.name)
    if length:
        usual = [v for v in settings_for(parameter, rng) if isinstance(v, tuple) and len(v) == length]
        return [*usual, *_TUPLES.get(length, ()), *settings_for(parameter, rng)]
    if _BEFORE.fullmatch(snake(parameter.name)) and reads_attributes(cls, parameter.name):
        return [Previous(shape) for shape in _SHAPES_BEFORE]
    if is_size(parameter.name):
        return settings_for(parameter, rng)
    if is_padding(parameter.name, [p.name for p in others]):
        return [1, 0]
    functions = functions_for(parameter.name, [p.name for p in others])
    told = told_in_words(cls, parameter.name)
    if told:
        return [told, *settings_for(parameter, rng)]
    partners = [] if words else objects_for(parameter.name, cls)
    return [*functions, *words, *layers_for(parameter.name, cls), *partners, *settings_for(parameter, rng)]


_TUPLES: dict[int, list[tuple[int, ...]]] = {
    2: [(6, 4)], 3: [(CHANNELS, 6, 4)], 4: [(2, CHANNELS, 6, 4), (2, 6, 4, CHANNELS)],
}


def _constructor(cls: type) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(cls).parameters.values())
    except (TypeError, ValueError):
        return []


_BEFORE = re.compile(r"(prev(ious)?|in(put)?s?|parent|last|lower|bottom)_?(layer|node|module)?", re.IGNORECASE)
_SHAPES_BEFORE = ((BATCH, IN), (2, CHANNELS, 6, 4), (2, 6, 4, CHANNELS), (IN,))


def _diagonally(choices: list[list[Any]]) -> list[tuple[Any, ...]]:
    """Combinations, those nearest to everybody's first choice first."""
    ranked = sorted(
        product(*(list(enumerate(c))[:4] for c in choices[:6])), key=lambda row: sum(i for i, _ in row)
    )
    rest = tuple(c[0] for c in choices[6:])
    return [tuple(value for _, value in row) + rest for row in ranked]
