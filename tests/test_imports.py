"""What an import loads, and what it must not: each in a process of its own."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import gradverify

FRAMEWORKS = {"torch", "jax", "tensorflow", "autograd"}
HEAVY = FRAMEWORKS | {"numpy", "scipy", "pandas", "mpmath", "hypothesis", "matplotlib", "jinja2", "rich",
                      "typer", "pytest", "flint", "numpy_quaddtype", "dask", "distributed"}
PACKAGE = Path(gradverify.__file__).parent
CHECK_NUMPY = """
import numpy as np
import gradverify as gv
assert gv.check(gv.function(np.sin, derivative=np.cos), np.linspace(0.1, 1.0, 3)).ok
"""


def loaded_by(code: str) -> set[str]:
    """The top-level packages in `sys.modules` after a fresh interpreter ran the code."""
    report = "\nimport sys\nprint(*{name.partition('.')[0] for name in sys.modules})"
    run = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True,
                         cwd=PACKAGE.parent)
    return set(run.stdout.splitlines()[-1].split())


def modules() -> list[str]:
    paths = sorted(PACKAGE.rglob("*.py"))
    dotted = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in paths]
    return [name.removesuffix(".__init__") for name in dotted if not name.endswith("__main__")]


def test_importing_gradverify_loads_nothing_heavy() -> None:
    assert loaded_by("import gradverify") & HEAVY == set()


def test_the_pytest_plugin_loads_pytest_and_nothing_heavy() -> None:
    assert loaded_by("import gradverify.pytest_plugin") & HEAVY == {"pytest"}


def test_checking_numpy_imports_no_framework() -> None:
    assert loaded_by(CHECK_NUMPY) & FRAMEWORKS == set()


def test_a_heavy_import_would_be_seen() -> None:
    assert loaded_by("import gradverify.arrays") & HEAVY == {"numpy"}


@pytest.mark.parametrize("name", gradverify.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(gradverify, name) is not None
    assert name in dir(gradverify)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'gradverify' has no attribute 'chek'"):
        gradverify.chek  # noqa: B018 - the access is what is tested


def test_no_module_takes_the_place_of_a_public_name() -> None:
    # Importing a submodule binds its name in the package, over the function of the same name.
    assert {name for name in gradverify.__all__ if f"gradverify.{name}" in modules()} == {"audit"}


def test_audit_can_be_called_although_a_package_has_its_name() -> None:
    run = "import gradverify.audit\nimport gradverify as gv\nassert callable(gv.audit)"
    assert "gradverify" in loaded_by(run)


@pytest.mark.parametrize("name", modules())
def test_every_module_imports(name: str) -> None:
    framework = FRAMEWORKS & set(name.split(".")[2:3])
    for needed in framework:
        pytest.importorskip(needed)
    assert importlib.import_module(name).__doc__
