"""The code blocks of a page, and how each is run.

python              runs in the page's own namespace; with ``>>>`` it is a doctest. Functions named test_ are called.
python title="f"    is written to the file f of the page's folder, as is any other language with a title
sh                  runs in the page's folder; what sets up an environment is left out
text                right after sh: what that printed, ``...`` standing for anything
toml, json          must parse
"""

from __future__ import annotations

import doctest
import inspect
import itertools
import json
import os
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import gradverify as gv

ROOT = Path(__file__).parents[2]
OPTIONAL = ("torch", "jax", "tensorflow", "keras", "autograd", "flint", "matplotlib", "sklearn", "statsmodels")
_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_TITLE = re.compile(r'title="(?P<title>[^"]+)"')
# Steps that a test has no business taking: they make environments, load packages, or run the tests themselves.
_SETS_UP = re.compile(r"\b(?:venv|pip3? install|pipx|uv|git clone|tox|pre-commit|apt-get|pytest -n auto|source)\b")
_TIMES = re.compile(r"\d[\d.]* (?:ms|s|min)\b")


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its file's name or nothing, its code and its first line in the page."""

    language: str
    title: str
    code: str
    line: int


def blocks_of(text):
    """The fenced blocks of a page in order."""
    found = []
    for match in _FENCE.finditer(text):
        language, _, rest = match["info"].strip().partition(" ")
        title = _TITLE.search(rest)
        code = re.sub(rf"^{match['indent']}", "", match["code"], flags=re.MULTILINE)
        line = text.count("\n", 0, match.start("code")) + 1
        found.append(Block(language, title["title"] if title else "", code, line))
    return found


def run_page(page, folder):
    """Run every block of the page in a folder; AssertionError or the block's own error, with the page's line."""
    blocks, names = blocks_of(page.read_text(encoding="utf-8")), {"__name__": "page"}
    for block, after in itertools.zip_longest(blocks, blocks[1:]):
        if block.title:
            (folder / block.title).write_text(block.code, encoding="utf-8")
        elif block.language == "python":
            run_python(block, page, names)
        elif block.language == "sh":
            expected = after.code if after is not None and after.language == "text" else None
            run_shell(block, page, folder, expected)
        elif block.language in ("toml", "json"):
            {"toml": tomllib.loads, "json": json.loads}[block.language](block.code)


def run_python(block, page, names):
    """Execute it, or as a doctest; then call the tests it defines, with the fixture where they ask for it."""
    if ">>> " in block.code:
        return run_doctest(block, page, names)
    before = set(names)
    exec(compile("\n" * (block.line - 1) + block.code, str(page), "exec"), names)
    for name in names.keys() - before:
        if name.startswith("test_"):
            wanted = inspect.signature(names[name]).parameters
            names[name](**{fixture: {"gradverify": gv.assert_gradients}[fixture] for fixture in wanted})
    return None


def run_doctest(block, page, names):
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    test = doctest.DocTestParser().get_doctest(block.code, names, page.name, str(page), block.line - 1)
    said = []
    runner = doctest.DocTestRunner(optionflags=flags)
    runner.run(test, out=said.append, clear_globs=False)
    names.update(test.globs)
    if absent := re.search(r"ModuleNotFoundError: No module named '([\w.]+)'", "".join(said)):
        raise ModuleNotFoundError(absent[0], name=absent[1])
    assert not runner.failures, f"{page}:{block.line}\n{''.join(said)}"


def run_shell(block, page, folder, expected):
    """Run what is left without the steps that set up; its output is compared where the page shows it."""
    script = without_set_up(block.code)
    if not script.strip():
        return
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=environment(folder), text=True,
                          capture_output=True, timeout=600, check=False)
    where = f"{page}:{block.line}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    if expected is None:
        assert done.returncode == 0, where
    else:
        assert done.returncode in (0, 1), where
        assert matches(expected, done.stdout), f"{where}\nexpected\n{expected}"


def without_set_up(script):
    """The script without the steps of `_SETS_UP`, and with the commands of an environment found on the path."""
    joined = script.replace("\\\n", " ").replace(".venv/bin/", "")
    lines = []
    for line in joined.splitlines():
        steps = [step for step in line.split(" && ") if not _SETS_UP.search(step)]
        lines.append(" && ".join(steps))
    return "\n".join(lines)


def matches(expected, printed):
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    expected, printed = (_TIMES.sub("1 ms", text) for text in (expected, printed))
    return doctest.OutputChecker().check_output(expected, printed, flags)


def environment(folder):
    """The commands of this very tree, whatever is installed: `gradverify`, `python` and `pytest`."""
    commands = folder / ".commands"
    commands.mkdir(exist_ok=True)
    start = f'#!/bin/sh\nexec "{sys.executable}" '
    for name, rest in (("gradverify", "-m gradverify"), ("python", ""), ("python3", ""),
                       ("pytest", "-m pytest")):
        (commands / name).write_text(f'{start}{rest} "$@"\n')
        (commands / name).chmod(0o755)
    path = f"{commands}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "110", "NO_COLOR": "1", "TERM": "dumb"}
