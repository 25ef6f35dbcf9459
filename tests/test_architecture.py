"""The house rules nobody has to remember: sizes, layers, cycles, inheritance, read from the source."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from statistics import median, quantiles

import pytest

ROOT = Path(__file__).parents[1] / "gradverify"
Modules = dict[str, str]  # dotted name -> source
Function = ast.FunctionDef | ast.AsyncFunctionDef

MEDIAN, MOST, LONGEST, MODULE, DEPTH = 8, 25, 50, 400, 3

# What a part of the package may import of the package. A part that is not named may import any
# that does not forbid it below.
MAY_IMPORT = {
    "records": set(),
    "arrays": set(),
    "acknowledged": {"records"},
    "events": {"records"},
    "limits": set(),
    "verdict": {"records", "arrays", "localize", "diagnosis"},
    "localize": {"records", "arrays", "verdict", "diagnosis"},
    "diagnosis": {"records", "arrays", "verdict", "localize"},
    "report": {"records", "arrays"},
}
APART = [  # shared code is shared error: an oracle must owe nothing to what it judges
    ("oracles", {"targets", "reference"}),
    ("targets", {"oracles", "reference"}),
    ("reference", {"oracles", "targets"}),
    ("arithmetic", {"oracles", "targets", "reference"}),
]
USERS_OF_ARITHMETIC = {"oracles", "frameworks", "checking"}

# Third parties, and the only parts that may import them.
HOME = {
    "torch": {"frameworks.torch"},
    "jax": {"frameworks.jax"},
    "jaxlib": {"frameworks.jax"},
    "optax": {"frameworks.jax"},
    "tensorflow": {"frameworks.tensorflow"},
    "keras": {"frameworks.tensorflow"},
    "autograd": {"frameworks.autograd"},
    "pandas": {"report", "cli"},
    "matplotlib": {"report", "cli"},
    "jinja2": {"report", "cli"},
    "rich": {"report", "cli"},
    "typer": {"cli"},
    "hypothesis": {"strategies", "regimes"},
    "dask": {"audit"},
    "distributed": {"audit"},
    "flint": {"arithmetic", "oracles"},
    "mpmath": {"arithmetic", "oracles"},
    "numpy_quaddtype": {"arithmetic", "oracles"},
    "pytest": {"pytest_plugin"},
    "_pytest": {"pytest_plugin"},
}
NUMPY_ONLY = {"records", "arrays"}
STDLIB_ONLY = {"acknowledged", "events", "limits", "__init__"}


parsed = cache(ast.parse)


def read_package() -> Modules:
    paths = sorted(ROOT.rglob("*.py"))
    return {_dotted(path): path.read_text(encoding="utf-8") for path in paths}


def _dotted(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    """``oracles`` of ``gradverify.oracles.finite``; a framework is a part of its own."""
    names = module.split(".")[1:]
    return ".".join(names[:2] if names[:1] == ["frameworks"] else names[:1]) or "__init__"


def is_in(part: str, parts: set[str]) -> bool:
    return part in parts or part.split(".", maxsplit=1)[0] in parts


def imports(source: str, modules: Modules) -> set[str]:
    """The full names imported anywhere in the source, function bodies and type-checking blocks included."""
    found = set()
    for node in ast.walk(parsed(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            found |= {_imported(node.module or "", alias.name, modules) for alias in node.names}
    return found


def _imported(module: str, name: str, modules: Modules) -> str:
    return f"{module}.{name}" if f"{module}.{name}" in modules else module


def functions(source: str) -> Iterator[tuple[str, int]]:
    """Every function's name and its lines without the docstring, decorators not counted."""
    for node in ast.walk(parsed(source)):
        if isinstance(node, Function):
            yield node.name, (node.end_lineno or 0) - node.lineno + 1 - _docstring_lines(node)


def _docstring_lines(node: Function) -> int:
    first = node.body[0]
    return (first.end_lineno or 0) - first.lineno + 1 if ast.get_docstring(node) is not None else 0


def depth(node: ast.AST) -> int:
    """How deep blocks are nested in a function; an `elif` lies no deeper than its `if`."""
    blocks = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, (*Function.__args__, ast.Lambda, ast.ClassDef)):
            continue
        is_elif = isinstance(node, ast.If) and child in node.orelse and isinstance(child, ast.If)
        deepest = max(deepest, depth(child) + (isinstance(child, blocks) and not is_elif))
    return deepest


def oversized(modules: Modules) -> list[str]:
    lengths = [(f"{name}.{f}", n) for name, source in modules.items() for f, n in functions(source)]
    numbers = sorted(n for _, n in lengths)
    found = [f"{name}: {n} lines, at most {LONGEST}" for name, n in lengths if n > LONGEST]
    found += [f"{name}: {n} lines, at most {MODULE}" for name, source in modules.items()
              if (n := len(source.splitlines())) > MODULE]
    if median(numbers) > MEDIAN:
        found.append(f"the median function has {median(numbers)} lines, at most {MEDIAN}")
    if len(numbers) > 1 and quantiles(numbers, n=10, method="inclusive")[-1] > MOST:
        found.append(f"fewer than nine functions in ten have at most {MOST} lines")
    return found


def too_deep(modules: Modules) -> list[str]:
    return [f"{name}.{node.name}: nested {depth(node)} deep" for name, source in modules.items()
            for node in ast.walk(parsed(source)) if isinstance(node, Function) and depth(node) > DEPTH]


def broken_layers(modules: Modules) -> list[str]:
    return [f"{name} imports {other}" for name, source in modules.items()
            for other in sorted(imports(source, modules)) if not may_import(part_of(name), other)]


def may_import(part: str, other: str) -> bool:
    top = other.split(".", maxsplit=1)[0]
    if top == "gradverify":
        return may_import_part(part, part_of(other))
    if part in STDLIB_ONLY | NUMPY_ONLY:
        return top in sys.stdlib_module_names or (top == "numpy" and part in NUMPY_ONLY)
    return top not in HOME or is_in(part, HOME[top])


def may_import_part(part: str, other: str) -> bool:
    if part == other:
        return True
    if part in MAY_IMPORT:
        return is_in(other, MAY_IMPORT[part])
    if other == "arithmetic":
        return is_in(part, USERS_OF_ARITHMETIC)
    return not any(part == judge and is_in(other, judged) for judge, judged in APART)


def import_cycle(modules: Modules) -> list[str]:
    graph = {name: imports(source, modules) & modules.keys() - {name} for name, source in modules.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def inherited(modules: Modules) -> list[str]:
    trees = {name: parsed(source) for name, source in modules.items()}
    own = {node.name for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    return [f"{name}.{node.name}({ast.unparse(base)})" for name, tree in trees.items()
            for node in ast.walk(tree) if isinstance(node, ast.ClassDef)
            for base in node.bases if ast.unparse(base).split("[")[0].split(".")[-1] in own]


def test_functions_and_modules_fit_on_a_page() -> None:
    assert oversized(read_package()) == []


def test_blocks_are_nested_three_deep_at_most() -> None:
    assert too_deep(read_package()) == []


def test_every_import_keeps_to_its_layer() -> None:
    assert broken_layers(read_package()) == []


def test_no_import_cycle() -> None:
    assert import_cycle(read_package()) == []


def test_no_class_of_the_package_inherits_from_another() -> None:
    assert inherited(read_package()) == []


def test_the_package_that_is_read_is_the_package() -> None:
    assert {"gradverify", "gradverify.records", "gradverify.targets.record"} <= read_package().keys()


# From here on: every rule above finds what it is there for.

LONG = "def f():\n" + "    x = 1\n" * 50
LONG_DOCSTRING = 'def f():\n    """A claim.\n' + "    more\n" * 60 + '    """\n    return 1\n'
FOUR_DEEP = "def f():\n  if a:\n    for b in c:\n      with d:\n        while e:\n          pass\n"
ELIFS = "def f():\n" + "  if a:\n    pass\n" + "  elif b:\n    pass\n" * 5


def test_a_long_function_a_long_module_and_many_middling_functions_are_found() -> None:
    assert any("m.f: 51 lines" in found for found in oversized({"m": LONG}))
    assert "m: 401 lines, at most 400" in oversized({"m": "def f(): ...\n" * 401})
    nine_lines = "def f():\n" + "    x = 1\n" * 8
    assert oversized({"m": nine_lines}) == ["the median function has 9 lines, at most 8"]
    short, middling = "def f(): ...\n" * 7, ("def f():\n" + "    x = 1\n" * 25) * 3
    assert oversized({"m": short + middling}) == ["fewer than nine functions in ten have at most 25 lines"]


def test_a_docstring_costs_nothing() -> None:
    assert oversized({"m": LONG_DOCSTRING}) == []


def test_four_nested_blocks_are_found_and_a_chain_of_elifs_is_not() -> None:
    assert too_deep({"m": FOUR_DEEP}) == ["m.f: nested 4 deep"]
    assert too_deep({"m": ELIFS}) == []


@pytest.mark.parametrize(("module", "line"), [
    ("gradverify.records", "import scipy"),
    ("gradverify.records", "from gradverify.report import frame"),
    ("gradverify.arrays", "from gradverify.records import Verdict"),
    ("gradverify.events", "import numpy"),
    ("gradverify", "import numpy"),
    ("gradverify.oracles.finite", "from gradverify.targets.record import Target"),
    ("gradverify.oracles.finite", "from gradverify.reference import layers"),
    ("gradverify.targets.pairs", "from gradverify.oracles import finite"),
    ("gradverify.targets.pairs", "from gradverify.reference.layers import dense"),
    ("gradverify.reference.layers", "from gradverify.targets.record import Target"),
    ("gradverify.reference.layers", "import gradverify.oracles.finite"),
    ("gradverify.arithmetic.quad", "from gradverify.oracles import finite"),
    ("gradverify.targets.pairs", "from gradverify.arithmetic import quad"),
    ("gradverify.verdict", "from gradverify.oracles import finite"),
    ("gradverify.diagnosis", "from gradverify.targets.record import Target"),
    ("gradverify.localize", "def f():\n    from gradverify import probes"),
    ("gradverify.report.html", "from gradverify.checking import check"),
    ("gradverify.targets.pairs", "import torch.nn"),
    ("gradverify.frameworks.jax.target", "import torch"),
    ("gradverify.checking", "if x:\n    import pandas as pd"),
    ("gradverify.audit.run", "from rich.progress import Progress"),
    ("gradverify.probes", "from hypothesis import given"),
    ("gradverify.checking", "import dask"),
    ("gradverify.checking", "import pytest"),
    ("gradverify.verdict", "import mpmath"),
])
def test_an_import_across_the_layers_is_found(module: str, line: str) -> None:
    others = dict.fromkeys(("gradverify.report.frame", "gradverify.oracles.finite", "gradverify.probes"), "")
    assert len(broken_layers({**others, module: line})) == 1


@pytest.mark.parametrize(("module", "line"), [
    ("gradverify.records", "import numpy as np"),
    ("gradverify.oracles.quad", "from gradverify.arithmetic import quad"),
    ("gradverify.frameworks.torch.target", "import torch"),
    ("gradverify.frameworks.torch.target", "from gradverify.targets.record import Target"),
    ("gradverify.diagnosis", "from gradverify.localize import Located"),
    ("gradverify.report.frame", "import pandas as pd"),
    ("gradverify.cli", "from rich.table import Table"),
    ("gradverify.regimes.deep", "import hypothesis"),
    ("gradverify.checking", "from gradverify.targets.record import Target"),
])
def test_an_import_within_its_layer_is_left_alone(module: str, line: str) -> None:
    assert broken_layers({module: line}) == []


def test_a_cycle_through_a_function_is_found() -> None:
    late = "def f():\n    from gradverify import a"
    assert set(import_cycle({"gradverify.a": "import gradverify.b", "gradverify.b": late})) == \
        {"gradverify.a", "gradverify.b"}
    assert import_cycle({"gradverify.a": "import gradverify.b", "gradverify.b": "import math"}) == []


def test_inheritance_inside_is_found_and_from_outside_is_not() -> None:
    assert inherited({"m": "class A: ...", "n": "import m\nclass B(m.A[int]): ..."}) == ["n.B(m.A[int])"]
    assert inherited({"m": "class A(AssertionError): ...\nclass B(Protocol): ..."}) == []
