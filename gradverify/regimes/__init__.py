"""Variations of what the user gave: special values at his point, and a search over values, layouts and shapes."""

from __future__ import annotations

from gradverify.regimes.special import AT_ZERO, LARGE, SPECIAL, special_points

__all__ = ["AT_ZERO", "LARGE", "SPECIAL", "special_points"]
