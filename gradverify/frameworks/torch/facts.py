"""What a verdict on PyTorch code rests on besides the numbers: device, TensorFloat-32, autocast, scaled losses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from gradverify.arrays import EPS
from gradverify.frameworks.torch.tensors import lowest, real_name


def facts(
    reached: Iterable[Any], leaves: Mapping[str, Tensor], outputs: Mapping[str, Tensor], inside: str | None = None
) -> tuple[str, ...]:
    """A sentence on each: `reached` is what the code holds, closes over or is given; `inside` what it narrows to."""
    devices = sorted({str(x.device) for x in leaves.values() if x.device.type != "cpu"})
    return (*map(on_device, devices), *_autocast(leaves), *_narrower(leaves, outputs, inside), *_scaled(reached))


def on_device(device: str) -> str:
    """Where the target runs, and how coarse its products may be there.

    TensorFloat-32 keeps 10 of float32's 23 bits: a matrix product is then no better than 1e-3.
    """
    if not device.startswith("cuda"):
        return f"runs on {device}; differences and verdicts are made on the host"
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    name = torch.cuda.get_device_name(device)
    return (f"runs on {device} ({name}); TensorFloat-32 is {_on(matmul)} in matrix products of float32 "
            f"and {_on(cudnn)} in cuDNN's convolutions")


def _on(setting: bool) -> str:
    return "on" if setting else "off"


def _autocast(leaves: Mapping[str, Tensor]) -> Iterator[str]:
    for device in sorted({x.device.type for x in leaves.values()}):
        if torch.is_autocast_enabled(device):
            dtype = str(torch.get_autocast_dtype(device)).removeprefix("torch.")
            yield f"autocast to {dtype} is on for {device}: what it casts is judged by the roundings of {dtype}"


def _narrower(leaves: Mapping[str, Tensor], outputs: Mapping[str, Tensor], inside: str | None) -> Iterator[str]:
    own = lowest([real_name(x) for x in leaves.values()])
    coarse = lowest([own, *(real_name(y) for y in outputs.values())])
    if inside is not None and EPS[inside] > EPS[coarse]:
        yield (f"computes in {inside} on the way (autocast, or a cast inside): the formula is judged in float64 "
               f"where it runs there, the rest by the roundings of {inside}")
    for name, y in outputs.items():
        if EPS[real_name(y)] > EPS[own]:
            yield (f"{name} is {real_name(y)} where the leaves are {own} (autocast, or a cast inside): "
                   f"judged by the roundings of {real_name(y)}")


def _scaled(reached: Iterable[Any]) -> Iterator[str]:
    for value in reached:
        if isinstance(value, torch.amp.GradScaler) and value.is_enabled():
            yield (f"a GradScaler is among what the code holds: a loss scaled by {value.get_scale():g} has gradients "
                   "as many times as large, and they are judged as such")
