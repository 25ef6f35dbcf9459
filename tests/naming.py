"""Names of parametrised tests that are the same in every process."""

from __future__ import annotations

import re


def stable(value: object) -> str:
    """The value's repr without memory addresses: pytest-xdist compares the names its workers collect."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
