"""The definitions in a notebook as a module: imports, functions, classes and constants, and nothing that runs."""

from __future__ import annotations

import ast
import hashlib
import json
import tempfile
from pathlib import Path

_KEPT = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.ClassDef)


def as_module(notebook: Path) -> Path:
    """A Python file with what the code cells of a notebook define; cells that are no Python are left out."""
    code = "\n\n".join(_definitions(cell) for cell in _cells(notebook))
    name = hashlib.sha256(str(notebook.resolve()).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir(), "gradverify-notebooks", name)
    folder.mkdir(parents=True, exist_ok=True)
    stem = "".join(c if c.isalnum() else "_" for c in notebook.stem)
    file = folder / f"{stem}.py"
    file.write_text(code, encoding="utf-8")
    return file


def _cells(notebook: Path) -> list[str]:
    try:
        content = json.loads(notebook.read_text(encoding="utf-8"))
        cells = [cell for cell in content["cells"] if cell.get("cell_type") == "code"]
        return ["".join(cell["source"]) for cell in cells]
    except (ValueError, KeyError, TypeError, OSError):
        return []


def _definitions(cell: str) -> str:
    lines = ["" if line.lstrip().startswith(("%", "!", "?")) else line for line in cell.splitlines()]
    try:
        tree = ast.parse("\n".join(lines))
    except (SyntaxError, ValueError):
        return ""
    return "\n".join(ast.unparse(node) for node in tree.body if isinstance(node, _KEPT) or _is_constant(node))


def _is_constant(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and isinstance(node.value, (ast.Constant, ast.List, ast.Tuple, ast.Dict))
