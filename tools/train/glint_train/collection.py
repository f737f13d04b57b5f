"""Reading what `glint collect` wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from .archive import sha256

# The first folder of a kind must exist.
FOLDERS = {"trajectories": ("trajectories", "trajectories-fine"), "noise-pairs": ("noise-pairs",)}
SHARED = ("sigma", "model_time", "position", "null_tokens", "null_pooled")  # the same in every shard


class Collection:
    """A collection: its manifest, its prompts, and the tensors of all shards joined along the items.

    It must be complete, unless `partial` says that what there is will do.
    """

    def __init__(self, folder: Path, kind: str, partial: bool = False) -> None:
        path = folder / "collection.json"
        if not path.exists():
            raise SystemExit(f"{folder} holds no collection; make one with: glint collect {kind}")
        self.manifest: dict[str, Any] = json.loads(path.read_text())
        if self.manifest["format"] != 1 or self.manifest["kind"] != kind:
            raise SystemExit(
                f"{folder} holds {self.manifest['kind']} of format {self.manifest['format']}, not {kind}"
            )
        if not self.manifest["complete"] and not (partial and self.manifest["shards"]):
            raise SystemExit(f"{folder} is not complete; the same glint collect command goes on with it")
        self.identity = sha256(path)
        self.prompts: list[str] = json.loads((folder / "prompts.json").read_text())
        parts = []
        for shard in self.manifest["shards"]:
            if sha256(folder / shard["file"]) != shard["sha256"]:
                raise SystemExit(
                    f"{folder / shard['file']} is damaged; the same glint collect command makes it again"
                )
            parts.append(load_file(folder / shard["file"]))
        self.tensors: dict[str, Tensor] = {
            name: parts[0][name] if name in SHARED else torch.cat([part[name] for part in parts])
            for name in parts[0]
        }

    def check_model(self, bundle: dict[str, Any]) -> None:
        """The bundle of manifest `bundle` must have the networks that the collection was made with."""
        for name, hashed in self.manifest["model"]["components"].items():
            if bundle["components"].get(name, {}).get("sha256") != hashed:
                raise SystemExit(
                    f"the collection was made with another {name} than this bundle's; collect again"
                )


def training_collections(work: Path, kind: str, partial: bool = False) -> list[Collection]:
    """What a network is trained on: the collections of a kind in DIR that are not held out."""
    first, *further = (work / name for name in FOLDERS[kind])
    return [Collection(folder, kind, partial) for folder in (first, *filter(Path.exists, further))]


def joint_identity(collections: list[Collection]) -> str:
    """What a network's checkpoint says it was trained on."""
    return "+".join(collection.identity for collection in collections)


def turned(noise: Tensor, generator: torch.Generator) -> Tensor:
    """Noise [B, ...] turned towards new noise by random angles up to a right one: as normal as before."""
    angle = torch.rand(len(noise), *[1] * (noise.dim() - 1), generator=generator) * torch.pi / 2
    return angle.cos() * noise + angle.sin() * torch.randn(noise.shape, generator=generator)


class Predictions:
    """The rows of trajectories, collection after collection: row r is step r % steps of item r // steps."""

    def __init__(self, *collections: Collection) -> None:
        parts = [collection.tensors for collection in collections]
        self.latents, self.outputs, self.nulls = (
            torch.cat([part[name].flatten(0, 1) for part in parts])
            for name in ("latents", "output", "null_output")
        )
        self.sigmas = torch.cat([part["sigma"].repeat(len(part["output"])) for part in parts])
        self.null_tokens = parts[0]["null_tokens"].float()
        scales = {float(collection.manifest["options"]["guidance"]) for collection in collections}
        if len(scales) > 1:
            raise SystemExit(f"the collections have different guidance scales: {sorted(scales)}")
        (self.guidance,) = scales

    def __len__(self) -> int:
        return len(self.outputs)

    def batch(self, rows: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """The weak network's inputs (conditional prediction, latents, sigma) and the guided prediction."""
        latents, output, null = (x[rows].float() for x in (self.latents, self.outputs, self.nulls))
        return (output, latents, self.sigmas[rows]), null + self.guidance * (output - null)
