"""Every code block of the README and of docs/ runs; the harness that says so can fail."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from tests.docs import blocks
from tests.docs.blocks import OPTIONAL, ROOT, Block, blocks_of, matches, run_page, without_set_up

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for one page, with the examples that it may speak of; the precision of JAX is put back after it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    yield tmp_path
    if "jax" in sys.modules:
        sys.modules["jax"].config.update("jax_enable_x64", False)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_the_page_runs(page, folder):
    try:
        run_page(page, folder)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in OPTIONAL or importlib.util.find_spec(missing):
            raise
        pytest.skip(f"could not import '{missing}'")


def run(text, folder):
    page = folder / "page.md"
    page.write_text(text)
    run_page(page, folder)


WRONG = [
    ("```python\nassert 1 == 2\n```", AssertionError),
    ("```python\n>>> 1 + 1\n3\n\n```", AssertionError),
    ("```python\ndef test_nothing():\n    raise KeyError\n```", KeyError),
    ("```python\n>>> import no_such_module\n\n```", ModuleNotFoundError),
    ("```sh\nfalse\n```", AssertionError),
    ("```sh\necho one\n```\n\n```text\ntwo\n```", AssertionError),
    ("```toml\n[a\n```", ValueError),
]


@pytest.mark.parametrize(("text", "error"), WRONG)
def test_a_wrong_block_fails(text, error, folder):
    with pytest.raises(error):
        run(text, folder)


def test_blocks_of_one_page_share_their_names(folder):
    run("```python\nx = 1\n```\n\n```python\n>>> x\n1\n>>> y = x\n\n```\n\n```python\nassert y == 1\n```", folder)


def test_a_titled_block_becomes_a_file_and_shell_blocks_see_it(folder):
    run('```python title="a.py"\nprint("took 3.2 s")\n```\n```sh\npython a.py\n```\n```text\ntook 81 ms\n```', folder)


def test_gradverify_on_the_command_line_is_the_one_under_test(folder):
    run("```sh\ngradverify --version\n```\n```text\ngradverify ...\n```", folder)


def test_the_error_of_a_block_names_the_line_of_the_page(folder):
    with pytest.raises(ZeroDivisionError) as caught:
        run("# Title\n\n```python\nx = 1\n1 / 0\n```", folder)
    assert caught.traceback[-1].lineno + 1 == 5


def test_what_sets_up_an_environment_is_left_out():
    script = "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/gradverify audit x.py"
    assert without_set_up(script) == "gradverify audit x.py"


def test_indented_blocks_are_found_with_their_line():
    assert blocks_of('a\n\n  ```python title="f.py"\n  x\n  ```\n') == [Block("python", "f.py", "x\n", 4)]


def test_the_index_leads_to_every_page():
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    pages = {str(page.relative_to(ROOT / "docs")) for page in PAGES[1:]} - {"index.md"}
    assert {page for page in pages if f"]({page})" not in index} == set()


def test_every_page_of_the_docs_is_run():
    assert {page.name for page in PAGES} >= {"README.md", "verdict.md"}
    assert matches("off by ... (2 ms)", "off by 3 (51 s)")
    assert blocks.ROOT.joinpath("pyproject.toml").is_file()
