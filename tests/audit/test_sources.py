"""Paths and module names become files under the name they are imported by."""

from __future__ import annotations

import json

import pytest

from gradverify.audit.sources import find_sources

FILES = ("pkg/__init__.py", "pkg/sub/__init__.py", "pkg/sub/layers.py", "script.py", "notes.txt")
LEFT_OUT = (".hidden/x.py", "venv/x.py", "node_modules/x.py", "custom/pyvenv.cfg", "custom/x.py")


@pytest.fixture
def project(tmp_path):
    for name in FILES + LEFT_OUT:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def test_a_folder_stands_for_the_python_files_below_it_without_environments(project):
    modules = [source.module for source in find_sources([project])]
    assert modules == ["pkg", "pkg.sub", "pkg.sub.layers", "script"]


def test_a_file_in_a_package_has_its_dotted_name_and_the_folder_above_the_package(project):
    (source,) = find_sources([project / "pkg" / "sub" / "layers.py"])
    assert (source.module, source.root) == ("pkg.sub.layers", str(project))


def test_a_file_given_twice_is_audited_once(project):
    assert len(find_sources([project / "script.py", project / "script.py"])) == 1


def test_a_module_is_found_by_name_without_being_imported(project, monkeypatch):
    (project / "pkg" / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(project))
    assert [source.module for source in find_sources(["pkg.sub"])] == ["pkg.sub", "pkg.sub.layers"]


def test_a_module_object_stands_for_its_package():
    assert "json.decoder" in [source.module for source in find_sources([json])]


@pytest.mark.parametrize("place", ["no/such/path.py", "no_such_module", "json.no_such", "math", "notes.txt"])
def test_what_does_not_exist_or_has_no_source_is_refused_by_name(place, project, monkeypatch):
    monkeypatch.chdir(project)
    with pytest.raises(ValueError, match=place.split(".")[0]):
        find_sources([place])
