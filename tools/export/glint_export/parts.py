"""One component to export: its network, inputs of several sizes, and the original to compare with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from . import archives
from .errors import require

Inputs = tuple[Tensor, ...]


@dataclass
class Part:
    name: str
    module: nn.Module
    inputs_of: Callable[[Size], Inputs]
    reference: Callable[..., Tensor | Inputs]  # the pipeline's own component, called with the same inputs
    shapes: object  # torch.export's dynamic shapes
    fields: dict[str, object] = field(default_factory=dict)  # further ones of the manifest entry


@dataclass(frozen=True)
class Size:
    """Sizes of an example: batch, latent height, width and frames in units of the least multiple, tokens."""

    batch: int
    height: int
    width: int
    frames: int
    tokens: int


TRACED = Size(2, 4, 3, 2, 7)
# None of the sizes is the traced one, and batches of one and pictures of one patch row are among them.
CHECKED = (Size(1, 3, 5, 3, 9), Size(3, 2, 4, 1, 5))
# A network and the file made from it run the same kernels in the same order, up to fusion.
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 4e-2, torch.float16: 1e-2}


def as_tuple(output: Tensor | Inputs) -> Inputs:
    return output if isinstance(output, (tuple, list)) else (output,)


def dtype_of(module: nn.Module) -> torch.dtype:
    """The dtype of most weights: some families keep a few in float32."""
    sizes: Counter[torch.dtype] = Counter()
    for parameter in module.parameters():
        sizes[parameter.dtype] += parameter.numel()
    return sizes.most_common(1)[0][0]


def dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


@dataclass
class Written:
    """A component's file, and the original's outputs for some inputs; the original is no longer needed."""

    path: Path
    backend: str
    dtype: torch.dtype
    entry: dict[str, object]
    expected: list[tuple[Inputs, Inputs]]


@torch.no_grad()
def write(part: Part, folder: Path, backend: str, sparse: bool = False) -> Written:
    """Writes a component's file. `sparse`: see archives.write."""
    path = folder / (part.name + archives.SUFFIX[backend])
    archives.write(part.module, part.inputs_of(TRACED), part.shapes, path, backend, sparse)
    expected = []
    for size in CHECKED:
        inputs = part.inputs_of(size)
        expected.append((inputs, as_tuple(part.reference(*inputs))))
    dtype = dtype_of(part.module)
    entry: dict[str, object] = {"file": path.name, "backend": backend, "sha256": archives.sha256(path)}
    entry |= {"dtype": dtype_name(dtype), "compute": dtype_name(dtype), "inputs": list(part.module.inputs)}
    return Written(path, backend, dtype, entry | part.fields, expected)


@torch.no_grad()
def check(written: Written) -> None:
    """Compares the stored file with the original at other sizes; prints the largest relative difference."""
    path = written.path
    stored, worst = archives.load(path, written.backend), 0.0
    tolerance = TOLERANCE[written.dtype]
    for inputs, theirs in written.expected:
        for index, (a, b) in enumerate(zip(as_tuple(stored(*inputs)), theirs)):
            place = f"{path.name}: output {index} for inputs {[tuple(i.shape) for i in inputs[:3]]}"
            require(
                a.shape == b.shape, f"{place} has the shape {tuple(a.shape)}, the original {tuple(b.shape)}"
            )
            difference = float((a.float() - b.float()).abs().max() / b.float().abs().max().clamp(min=1.0))
            require(
                difference <= tolerance,
                f"{place} differs from the original by {difference:.1e}, more than {tolerance:.0e}",
            )
            worst = max(worst, difference)
    print(f"{path.name:24} {path.stat().st_size:12,d} bytes, within {worst:.1e} of the original", flush=True)
