"""Frameworks that are not installed: their adapters are not collected, doctests included."""

from importlib.util import find_spec

ADAPTERS = ("torch", "jax", "tensorflow", "autograd")
collect_ignore = [f"gradverify/frameworks/{name}" for name in ADAPTERS if not find_spec(name)]
collect_ignore += [f"tests/wrong/cases_{name}.py" for name in ADAPTERS if not find_spec(name)]
