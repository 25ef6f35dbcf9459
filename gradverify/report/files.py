"""A file appears whole or not at all."""

from __future__ import annotations

import secrets
from os import PathLike
from pathlib import Path


def write_whole(path: str | PathLike[str], text: str) -> None:
    """Write UTF-8 text; a reader of `path` sees the old file or the new one, never a part."""
    final = Path(path)
    draft = final.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        with draft.open("x", encoding="utf-8", newline="\n") as file:
            file.write(text)
        draft.replace(final)
    finally:
        draft.unlink(missing_ok=True)
