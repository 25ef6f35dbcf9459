"""Verdicts on gradients, decided by measured error instead of a tolerance.

The public names, each loaded when it is first asked for (PEP 562): `import gradverify` loads
nothing else, so that a program or a test suite which merely could check a gradient pays nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gradverify.audit import audit
    from gradverify.audit.examples import example
    from gradverify.checking import assert_gradients, check
    from gradverify.convergence.optimizers import OptimizerReport, check_optimizer
    from gradverify.convergence.taylor import TaylorReport, check_taylor
    from gradverify.convergence.training import TrainingReport, check_training
    from gradverify.deriving import derivative
    from gradverify.flow.checking import check_flow
    from gradverify.flow.monitoring import FlowHistory, monitor_flow
    from gradverify.flow.record import FlowReport, FlowVerdict
    from gradverify.pytest_plugin.cases import cases
    from gradverify.records import (
        Cause,
        Check,
        Estimate,
        GradientInconclusive,
        GradientMismatch,
        Options,
        Report,
        Verdict,
    )
    from gradverify.targets.specs import function, layer, pair

__version__ = "0.1.0"

_HOME = {
    "audit": "gradverify.audit",
    "assert_gradients": "gradverify.checking",
    "cases": "gradverify.pytest_plugin.cases",
    "check": "gradverify.checking",
    "check_flow": "gradverify.flow.checking",
    "check_optimizer": "gradverify.convergence.optimizers",
    "check_taylor": "gradverify.convergence.taylor",
    "check_training": "gradverify.convergence.training",
    "derivative": "gradverify.deriving",
    "Cause": "gradverify.records",
    "Check": "gradverify.records",
    "Estimate": "gradverify.records",
    "FlowHistory": "gradverify.flow.monitoring",
    "FlowReport": "gradverify.flow.record",
    "FlowVerdict": "gradverify.flow.record",
    "GradientInconclusive": "gradverify.records",
    "GradientMismatch": "gradverify.records",
    "OptimizerReport": "gradverify.convergence.optimizers",
    "Options": "gradverify.records",
    "Report": "gradverify.records",
    "TaylorReport": "gradverify.convergence.taylor",
    "TrainingReport": "gradverify.convergence.training",
    "Verdict": "gradverify.records",
    "example": "gradverify.audit.examples",
    "function": "gradverify.targets.specs",
    "layer": "gradverify.targets.specs",
    "monitor_flow": "gradverify.flow.monitoring",
    "pair": "gradverify.targets.specs",
}

__all__ = [
    "Cause",
    "Check",
    "Estimate",
    "FlowHistory",
    "FlowReport",
    "FlowVerdict",
    "GradientInconclusive",
    "GradientMismatch",
    "OptimizerReport",
    "Options",
    "Report",
    "TaylorReport",
    "TrainingReport",
    "Verdict",
    "__version__",
    "assert_gradients",
    "audit",
    "cases",
    "check",
    "check_flow",
    "check_optimizer",
    "check_taylor",
    "check_training",
    "derivative",
    "example",
    "function",
    "layer",
    "monitor_flow",
    "pair",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gradverify' has no attribute {name!r}")
    home = import_module(_HOME[name])
    if _HOME[name] == f"{__name__}.{name}":
        return home  # `audit` is a package that can be called: the import has put it here already
    value = getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
