"""The action, the pre-commit hook and the snippets of docs/ci.md, run as far as they can be without their hosts."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys

import pytest

from tests.docs.blocks import ROOT, blocks_of, environment

yaml = pytest.importorskip("yaml")  # a dependency of the tests, not of the package
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
SNIPPETS = {block.title: yaml.safe_load(block.code) for block in blocks_of((ROOT / "docs/ci.md").read_text())
            if block.language == "yaml"}
RIGHT = "import numpy as np\ndef cube(x):\n    return x**3\ndef cube_prime(x):\n    return 3 * x**2\n"
WRONG = RIGHT.replace("3 * x**2", "2 * x**2")


@pytest.fixture
def checkout(tmp_path):
    """A folder with a right file, a wrong one under an unkind name, one without derivatives, and a test."""
    folder = tmp_path / "checkout"
    (folder / "src").mkdir(parents=True)
    (folder / "src/right.py").write_text(RIGHT)
    (folder / "wrong $(touch hacked).py").write_text(WRONG)
    (folder / "empty.py").write_text("x = 1\n")
    (folder / "test_own.py").write_text("def test_own(): ...\n")
    return folder


def run_action(checkout, **inputs):
    """The step that checks, with the inputs as GitHub would hand them over."""
    (step,) = [step for step in ACTION["runs"]["steps"] if step.get("id") == "check"]
    given = {name: one["default"] for name, one in ACTION["inputs"].items()} | inputs
    variables = {name: given[re.fullmatch(r"\$\{\{ inputs\.(\w+) \}\}", text)[1]] for name, text in step["env"].items()}
    host = {"GITHUB_ACTIONS": "true", "GITHUB_OUTPUT": str(checkout / "output"), "PYTEST_ADDOPTS": "-p no:cacheprovider",
            "GITHUB_STEP_SUMMARY": str(checkout / "summary.md"), "GITHUB_WORKSPACE": str(checkout)}
    return subprocess.run(["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]], cwd=checkout, text=True,
                          env=environment(checkout) | host | variables, capture_output=True, check=False)


def test_the_action_audits_annotates_and_keeps_its_report(checkout) -> None:
    done = run_action(checkout, audit="src\nwrong $(touch hacked).py\n")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "::error file=wrong $(touch hacked).py,line=2,title=gradverify" in done.stdout
    assert "1 passed" in done.stdout
    assert "1 fail" in (checkout / "summary.md").read_text()
    kept = {path.name for path in (checkout / "gradverify-report").iterdir()}
    assert kept == {"gradverify.html", "gradverify.json", "junit.xml"}
    assert (checkout / "output").read_text() == "html=gradverify-report/gradverify.html\n"
    assert not (checkout / "hacked").exists()


def test_the_action_runs_the_projects_own_tests_where_it_is_told_to(checkout) -> None:
    done = run_action(checkout, audit="src", tests="test_own.py -q", strict="true")
    assert (done.returncode, "2 passed" in done.stdout) == (0, True), done.stdout + done.stderr


def test_every_input_of_the_action_is_used_and_explained() -> None:
    used = set(re.findall(r"inputs\.(\w+)", (ROOT / "action.yml").read_text()))
    assert used == set(ACTION["inputs"])
    assert all(f"| `{name}` |" in (ROOT / "docs/ci.md").read_text() for name in used)
    assert not any("${{" in step.get("run", "") for step in ACTION["runs"]["steps"])


def test_the_snippet_uses_inputs_that_exist() -> None:
    steps = SNIPPETS["gradients.yml"]["jobs"]["audit"]["steps"]
    assert set(steps[-1]["with"]) <= set(ACTION["inputs"])


@pytest.mark.parametrize(("file", "code"), [
    ("src/right.py", 0), ("empty.py", 0), ("wrong $(touch hacked).py", 1)])
def test_the_hook_passes_what_is_right_or_without_derivatives(checkout, file, code) -> None:
    entry = shlex.split(HOOKS[0]["entry"])
    done = subprocess.run([*entry, file], cwd=checkout, env=environment(checkout), capture_output=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert not (checkout / "hacked").exists()


def test_the_hook_is_the_one_the_snippet_names() -> None:
    (repo,) = SNIPPETS["pre-commit-config.yml"]["repos"]
    assert [hook["id"] for hook in repo["hooks"]] == [HOOKS[0]["id"]]
    assert {"id", "name", "entry", "language"} <= set(HOOKS[0])


def test_the_options_of_the_other_snippet_exist(tmp_path) -> None:
    script = SNIPPETS["gitlab.yml"]["gradients"]["script"][-1]
    (tmp_path / "src").mkdir()
    (tmp_path / "src/right.py").write_text(RIGHT)
    command = [sys.executable, "-m", *shlex.split(script)]
    done = subprocess.run(command, cwd=tmp_path, env=environment(tmp_path) | {"PYTEST_ADDOPTS": ""}, check=False)
    assert done.returncode == 0
    assert {"gradients.html", "junit.xml"} <= {path.name for path in tmp_path.iterdir()}
