"""From a pipeline folder to a bundle folder."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from torch import nn

from . import archives
from .errors import ExportError, require
from .families import FAMILIES, Family, family_of
from .networks import text_parts
from .parts import TRACED as SMALL
from .parts import Part, check, write
from .released_parts import core2_entry, npnet_entry

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TOKENIZER_SUFFIX = {"clip-bpe": ".json", "sentencepiece": ".model"}


@dataclass
class Options:
    pipeline: Path
    out: Path
    dtype: str = "float32"
    backend: str = "torchscript"
    device: str = "cpu"
    weak: Path | None = None
    ops: Path | None = None
    npnet: Path | None = None
    core2: Path | None = None


def load_pipeline(folder: Path, dtype: torch.dtype, device: str) -> DiffusionPipeline:
    """The pipeline in a folder, whole and of a class that is known. Nothing is downloaded."""
    index = folder / "model_index.json"
    require(
        index.is_file(), f"{folder}: not a pipeline in diffusers' format: there is no model_index.json in it"
    )
    described = json.loads(index.read_text())
    name = described.get("_class_name")
    require(name in FAMILIES, f"{folder}: {name} is not supported; known are {', '.join(FAMILIES)}")
    for component, value in described.items():
        expected = isinstance(value, list) and value[0] is not None
        if expected and component not in ("image_encoder", "feature_extractor", "safety_checker"):
            require(
                (folder / component).is_dir(),
                f"{folder}: {name} needs the folder {component}, which is missing",
            )
    pipe = DiffusionPipeline.from_pretrained(str(folder), torch_dtype=dtype, local_files_only=True)
    for component in ("text_encoder", "text_encoder_2", "text_encoder_3", "unet", "transformer", "vae"):
        network = getattr(pipe, component, None)
        optional = component.startswith("text_encoder") and component not in described
        absent = component in described and network is None and not optional
        require(not absent, f"{folder}: {component} is missing; bundles without it are not supported")
        if network is not None:
            network.eval().requires_grad_(False)
    if getattr(pipe.vae.config, "force_upcast", False) and pipe.vae.dtype != torch.float32:
        pipe.vae.to(torch.float32)
    return pipe.to(device)


def tokenizer_entries(pipe: DiffusionPipeline, family: Family, out: Path) -> dict[str, object]:
    entries: dict[str, object] = {}
    for name, (write, length) in family.tokenizers.items():
        path = out / f"{name}.partial"
        fields = write(getattr(pipe, name), length, path)
        path = path.rename(path.with_suffix(TOKENIZER_SUFFIX[fields["backend"]]))
        entries[name] = (
            {"file": path.name, "sha256": archives.sha256(path)} | fields | family.tokenizer_fields
        )
    return entries


def weak_part(options: Options, family: Family, strong: Part) -> Part:
    """The denoiser of another pipeline of the same family, which must take the same inputs."""
    pipe = load_pipeline(options.weak, DTYPES[options.dtype], options.device)
    other = family_of(pipe)
    require(other.name == family.name, f"{options.weak}: a {other.name} model beside a {family.name} model")
    part = other.denoiser(getattr(pipe, other.network))
    ours, theirs = strong.inputs_of(SMALL), part.inputs_of(SMALL)
    for name, a, b in zip(strong.module.inputs, ours, theirs, strict=True):
        require(
            a.shape == b.shape,
            f"{options.weak}: takes {name} {tuple(b.shape)}, the other model {tuple(a.shape)}",
        )
    for key in ("parameterization", "latent"):
        require(
            other.manifest[key] == family.manifest[key], f"{options.weak}: {key} is not the other model's"
        )
    part.name = "weak_denoiser"
    return part


def load_operators(options: Options) -> None:
    if options.ops is None:
        return
    require(
        options.backend == "aoti", f"--ops is for compiled packages (--backend aoti), not {options.backend}"
    )
    require(options.ops.is_file(), f"{options.ops}: no such library")
    try:
        torch.ops.load_library(options.ops)
    except OSError as error:
        raise ExportError(f"{options.ops}: cannot be loaded: {error}") from error
    require(hasattr(torch.ops.glint, "attention"), f"{options.ops}: has no operator glint::attention")


def take_networks(pipe: DiffusionPipeline) -> None:
    for name, component in pipe.components.items():
        if isinstance(component, nn.Module):
            setattr(pipe, name, None)


def export_pipeline(options: Options) -> None:
    """Writes the bundle of the pipeline in a folder."""
    load_operators(options)
    write_bundle(load_pipeline(options.pipeline, DTYPES[options.dtype], options.device), options)


def write_bundle(pipe: DiffusionPipeline, options: Options) -> None:
    """Writes the bundle of a pipeline, and takes the networks out of it.

    Each network leaves memory before its file is loaded for the comparison. model.json comes last: a folder
    without one is no bundle.
    """
    torch.manual_seed(0)
    family = family_of(pipe)
    options.out.mkdir(parents=True, exist_ok=True)
    manifest_path = options.out / "model.json"
    manifest_path.unlink(missing_ok=True)
    components = tokenizer_entries(pipe, family, options.out)
    released = {}
    if options.npnet is not None:
        released["npnet"] = npnet_entry(options.npnet, pipe, family.name, options.out)
    if options.core2 is not None:
        released["core2_weak"] = core2_entry(options.core2, pipe, family.name, options.out)
    denoiser = family.denoiser(getattr(pipe, family.network))
    parts = [*text_parts(pipe, family.encoders), denoiser, *family.vae(pipe.vae)]
    if options.weak is not None:
        parts.append(weak_part(options, family, denoiser))
    del denoiser
    take_networks(pipe)
    while parts:
        part = parts.pop(0)
        part.module.eval().requires_grad_(False)
        written = write(
            part, options.out, options.backend, options.ops is not None and part.name.endswith("denoiser")
        )
        del part
        archives.give_memory_back()
        check(written)
        components[written.path.stem] = written.entry
    manifest = {"format": 1, "name": options.pipeline.resolve().name, **family.manifest}
    manifest |= {"torch": torch.__version__.split("+")[0], "components": components | released}
    manifest_path.write_text(json.dumps(manifest, indent=2) + "\n")
