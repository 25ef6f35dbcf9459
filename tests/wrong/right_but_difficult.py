"""Right gradients that a checker is tempted to fail."""

from __future__ import annotations

from catalogue import Right

CASES: list[Right] = []
