"""Code written with `autograd.numpy` as a target: plain on plain arrays, taped for its derivatives."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from autograd.builtins import tuple as boxed_tuple
from autograd.core import VJPNode, backward_pass, make_jvp, make_vjp
from autograd.tracer import trace

from gradverify.arrays import Arrays, dtype_name, is_floating
from gradverify.records import Options
from gradverify.targets.calling import (
    Call,
    Replay,
    make_call,
    named_outputs,
    overwritten,
    replay,
    substituted,
)
from gradverify.targets.record import Perturb, Pullback, Target
from gradverify.targets.specs import name_of
