"""What the fixture `gradverify` is: a call for gradients, one for gradient flow, one for training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import gradverify
from gradverify.pytest_plugin.cases import GradientCase
from gradverify.pytest_plugin.recorder import marked

if TYPE_CHECKING:
    from gradverify.records import Report


@dataclass(frozen=True)
class Asserting:
    """`gradverify.assert_gradients`, of a target and its inputs or of one case of `gradverify.cases`."""

    item: pytest.Item

    def __call__(self, target: Any, *inputs: Any, **options: Any) -> Report:
        __tracebackhide__ = True
        from gradverify.checking import assert_gradients

        if isinstance(target, GradientCase):
            return target.assert_gradients(**options)
        return assert_gradients(target, *inputs, **options)

    def flow(self, network: Any, *inputs: Any, **options: Any) -> Any:
        """`gradverify.check_flow`; an AssertionError where the gradient flow is not healthy.

        The marker ``gradverify_flow(optimizer="adam")`` gives options to the calls of its test.
        """
        __tracebackhide__ = True
        return self._asserted("flow", gradverify.check_flow(network, *inputs, **self._with("flow", options)))

    def training(self, history: Any, **options: Any) -> Any:
        """`gradverify.check_training`; an AssertionError where the training is not in order.

        The marker ``gradverify_training(...)`` gives options to the calls of its test.
        """
        __tracebackhide__ = True
        return self._asserted("training", gradverify.check_training(history, **self._with("training", options)))

    def _with(self, kind: str, options: dict[str, Any]) -> dict[str, Any]:
        return {**marked(self.item, f"gradverify_{kind}"), **options}

    def _asserted(self, kind: str, report: Any) -> Any:
        __tracebackhide__ = True
        self.item.user_properties.append((f"gradverify_{kind}", str(getattr(report.verdict, "value", report.verdict))))
        if not report.ok:
            raise AssertionError(str(report))
        return report
