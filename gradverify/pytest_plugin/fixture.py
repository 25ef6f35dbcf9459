"""What the fixture `gradverify` is: one call for gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gradverify.pytest_plugin.cases import GradientCase

if TYPE_CHECKING:
    from gradverify.records import Report


@dataclass(frozen=True)
class Asserting:
    """`gradverify.assert_gradients`, of a target and its inputs or of one case of `gradverify.cases`."""

    def __call__(self, target: Any, *inputs: Any, **options: Any) -> Report:
        __tracebackhide__ = True
        from gradverify.checking import assert_gradients

        if isinstance(target, GradientCase):
            return target.assert_gradients(**options)
        return assert_gradients(target, *inputs, **options)
