"""From a pipeline folder to a bundle folder."""

from __future__ import annotations

import inspect
import json
import math
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import diffusers
import torch
from diffusers import DiffusionPipeline
from torch import nn

from . import archives
from .errors import ExportError, require
from .families import COMPONENT_FIELDS, COMPONENTS, FAMILIES, PIPELINE_OPTIONS, Family, family_of
from .folder import Folder, first_line, hollow, loaded, read_folder, read_json
from .networks import text_parts
from .parts import TRACED as SMALL
from .parts import Inputs, Part, as_tuple, check, write
from .perturbed import parse, perturbed
from .released_parts import core2_entry, npnet_entry
from .scheduler_fields import FLOW_CLASSES, VP_CLASSES, NoEffect, check_value, defaults
from .single_file import read_file

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TOKENIZER_SUFFIX = {"clip-bpe": ".json", "sentencepiece": ".model"}
SCHEDULER_CONFIG = "scheduler_config.json"
# What some class of schedulers reads; released files keep fields of the classes that they were made for.
SCHEDULER_FIELDS = {field for fields in (*VP_CLASSES.values(), *FLOW_CLASSES.values()) for field in fields}
SCHEDULER_FIELDS |= {"skip_prk_steps"}  # of PNDM
SOLVER = re.compile(r"[a-z0-9+-]+(:[a-z0-9_]+=[^,=]+(,[a-z0-9_]+=[^,=]+)*)?")


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
    variant: str | None = None
    perturb: str | None = None
    steps: int | None = None
    guidance: float | None = None
    solver: str | None = None
    components: tuple[Path, ...] = ()


def read_source(path: Path, options: Options) -> Folder:
    """What a pipeline consists of: a folder in diffusers' format, or a single file."""
    if path.is_file():
        return read_file(path, options.components, options.variant)
    return read_folder(path, tuple(FAMILIES), options.variant)


def check_classes(source: Folder) -> None:
    """Fails for a component of a class that is not known, or an option that a bundle does not hold."""
    for name, kind in COMPONENTS[source.pipeline].items():
        component = source.components.get(name)
        optional = isinstance(kind, tuple)
        require(
            component is not None or optional,
            f"{source.path}: {name} is missing; bundles without it are not supported",
        )
        wanted = kind[0] if optional else kind
        require(
            component is None or wanted is None or issubclass(component.kind, wanted),
            f"{source.path}: {name} is of class {component and component.kind.__name__}, supported is "
            f"{wanted and wanted.__name__}",
        )
    known = inspect.signature(getattr(diffusers, source.pipeline).__init__).parameters
    rules = PIPELINE_OPTIONS.get(source.pipeline, {})
    for name in source.options:
        if name in known:
            require(name in rules, f"{source.path}: {name} of model_index.json is not supported")
            check_value(source.pipeline, name, source.options, rules[name], known[name].default)


def assembled(source: Folder, components: dict[str, object]) -> DiffusionPipeline:
    kind = getattr(diffusers, source.pipeline)
    known = inspect.signature(kind.__init__).parameters
    absent = {name: None for name in COMPONENTS[source.pipeline] if name in known}
    rules = PIPELINE_OPTIONS.get(source.pipeline, {})
    options = {name: value for name, value in source.options.items()
               if name in known and not isinstance(rules[name], NoEffect)}  # fmt: skip
    try:
        return kind(**absent | components | options)
    except Exception as error:
        why = first_line(error)
        raise ExportError(f"{source.path}: {source.pipeline} cannot be made of its parts: {why}") from error


def check_fields(source: Folder, pipe: DiffusionPipeline) -> None:
    """Fails for a field of a network's configuration that a bundle does not hold."""
    for name, fields in COMPONENT_FIELDS[source.pipeline].items():
        network = getattr(pipe, name)
        config, known = dict(vars_of(network)), defaults(type(network))
        for field, rule in fields.items():
            if field in config:
                check_value(f"{name} {type(network).__name__}", field, config, rule, known.get(field))


def check_entries(source: Folder) -> None:
    """Keeps what a file says that diffusers passes over: a word that no class knows may be a misspelt one."""
    source.ignored = []
    taken = inspect.signature(getattr(diffusers, source.pipeline).__init__).parameters
    unknown = {"model_index.json": source.options.keys() - taken.keys()}
    for name, part in source.components.items():
        file = part.folder / (SCHEDULER_CONFIG if name == "scheduler" else "config.json")
        if part.made or part.library != "diffusers" or not file.is_file():
            continue
        known = defaults(part.kind).keys() | (SCHEDULER_FIELDS if name == "scheduler" else set())
        unknown[name] = {key for key in read_json(file) if not key.startswith("_")} - known
    source.ignored = [f"{key} of {place}" for place, keys in unknown.items() for key in sorted(keys)]


def vars_of(network: nn.Module) -> dict[str, object]:
    return network.config if isinstance(network.config, dict) else network.config.to_dict()


def rehearsed(part: Part, source: Folder, count: int | None = None) -> Inputs:
    """What a network without weights gives for its first `count` inputs: shapes without values."""
    try:
        return as_tuple(part.reference(*part.inputs_of(SMALL)[:count]))
    except Exception as error:
        raise ExportError(
            f"{source.path}: {part.name} cannot be called as {source.pipeline} calls it: {first_line(error)}"
        ) from error


def check_widths(source: Folder, pipe: DiffusionPipeline, family: Family) -> None:
    """Fails for networks that do not fit together."""

    def fits(what: str, found: object, wanted: object) -> None:
        require(found == wanted, f"{source.path}: {what} {found}, but the pipeline needs {wanted}")

    denoiser = family.denoiser(getattr(pipe, family.network))
    inputs = dict(zip(denoiser.module.inputs, denoiser.inputs_of(SMALL), strict=True))
    latents = inputs["latents"].shape
    fits("the prediction has the shape", tuple(rehearsed(denoiser, source)[0].shape), tuple(latents))
    channels = family.manifest["latent"]["channels"]
    fits("the VAE's latents have this many channels:", channels, latents[1])
    # Their masks, whose values would be looked at, change no width.
    texts = [rehearsed(part, source, 1) for part in text_parts(pipe, family.encoders)]
    for name, width in family.widths([[x.shape[-1] for x in outputs] for outputs in texts]).items():
        fits(f"the text encoders' {name} have a width of", width, inputs[name].shape[-1])
    for part in family.vae(pipe.vae):
        given = 3 if part.name.startswith("vae_decoder") else channels
        fits(f"{part.name} gives this many channels:", rehearsed(part, source)[0].shape[1], given)


@torch.no_grad()
def plan(source: Folder) -> DiffusionPipeline:
    """The pipeline without weights, after everything has been refused that can be without them."""
    check_classes(source)
    check_entries(source)
    pipe = assembled(source, {name: hollow(part) for name, part in source.components.items()})
    check_fields(source, pipe)
    family = family_of(pipe)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer_entries(pipe, family, Path(folder))
    with torch.device("meta"):
        check_widths(source, pipe, family)
    return pipe


def load_pipeline(
    folder: Path, dtype: torch.dtype, device: str, variant: str | None = None
) -> DiffusionPipeline:
    """The pipeline in a folder, whole and of a class that is known. Nothing is downloaded."""
    return load_source(read_folder(folder, tuple(FAMILIES), variant), dtype, device)


def load_source(source: Folder, dtype: torch.dtype, device: str) -> DiffusionPipeline:
    plan(source)
    pipe = assembled(source, {name: loaded(part, dtype) for name, part in source.components.items()})
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
    pipe = load_source(read_source(options.weak, options), DTYPES[options.dtype], options.device)
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


def check_options(options: Options) -> None:
    for name in ("npnet", "core2"):
        path = getattr(options, name)
        require(path is None or path.is_file(), f"--{name} {path}: no such file")
    require(
        not options.components or options.pipeline.is_file(),
        f"--components is for single files, which may lack something; {options.pipeline} is none",
    )
    require(options.steps is None or options.steps > 0, f"--steps {options.steps}: expected at least 1")
    require(
        options.guidance is None or math.isfinite(options.guidance),
        f"--guidance {options.guidance}: expected a finite number",
    )
    require(
        options.solver is None or SOLVER.fullmatch(options.solver) is not None,
        f"--solver {options.solver}: expected NAME[:key=value,...]",
    )


def describe(options: Options) -> str:
    """What an export would write, found out without loading weights. Fails as the export would."""
    check_options(options)
    source = read_source(options.pipeline, options)
    pipe = plan(source)
    family = family_of(pipe)
    if options.perturb is not None:
        parsed = parse(options.perturb, family.name)
        perturbed(getattr(pipe, family.network), parsed, family.name)
    if options.weak is not None:
        plan(read_source(options.weak, options))
    content = chosen(family.manifest, options)
    lines = [f"{options.pipeline}: {source.pipeline}, becomes a bundle of family {family.name}"]
    shown = ("parameterization", "schedule", "default_solver", "default_filters", "default_steps", "guidance")
    lines += [f"  {name}: {json.dumps(content[name])}" for name in shown if name in content]
    for part in source.components.values():
        if part.network:
            variant = f", variant {part.variant}" if part.variant else ""
            lines.append(f"  {part.name}: {part.kind.__name__}, {size(part.bytes)}{variant}")
    return "\n".join(lines + unused(source))


def unused(source: Folder) -> list[str]:
    """Lines about the tensors of a single file, and the entries of configurations, that nothing reads."""
    names = source.unused
    lines = [f"  not read: {len(names)} tensors, such as {', '.join(names[:3])}"] if names else []
    return lines + ([f"  not known to diffusers: {', '.join(source.ignored)}"] if source.ignored else [])


def chosen(manifest: dict[str, object], options: Options) -> dict[str, object]:
    """The manifest with what the user says about defaults that the folder does not tell."""
    changes: dict[str, object] = {}
    if options.solver is not None:  # the filters are the scheduler's
        manifest = {name: value for name, value in manifest.items() if name != "default_filters"}
    if options.steps is not None:
        changes["default_steps"] = options.steps
    if options.guidance is not None:
        changes["guidance"] = manifest["guidance"] | {"default": options.guidance}
    if options.solver is not None:
        changes["default_solver"] = options.solver
    return manifest | changes


def name_of(pipeline: Path) -> str:
    path = pipeline.resolve()
    return path.stem if path.suffix == ".safetensors" and path.is_file() else path.name


def size(count: int) -> str:
    return f"{count / 2**30:.2f} GiB" if count >= 2**28 else f"{count / 2**20:.1f} MiB"


class Progress:
    """One line for each network, with the time that the others will take at the same speed: once enough is
    written to tell, since what a small network takes is not the time of its weights."""

    TELLING = 0.05  # of all weights

    def __init__(self, parts: list[Part]) -> None:
        self.count, self.done, self.start = len(parts), 0, time.monotonic()
        self.left = [sum(p.numel() * p.element_size() for p in part.module.parameters()) for part in parts]
        self.written = 0

    def next(self, name: str) -> None:
        now, left = self.left[0], sum(self.left)
        rest = ""
        if self.written > self.TELLING * (self.written + left):
            seconds = (time.monotonic() - self.start) * left / self.written
            rest = f", about {seconds / 60:.0f} min left" if seconds > 90 else f", about {seconds:.0f} s left"
        self.done += 1
        print(f"[{self.done}/{self.count}] {name}: {size(now)}{rest}", flush=True)
        self.written += self.left.pop(0)


def export_pipeline(options: Options) -> None:
    """Writes the bundle of the pipeline in a folder."""
    check_options(options)
    load_operators(options)
    source = read_source(options.pipeline, options)
    pipe = load_source(source, DTYPES[options.dtype], options.device)
    for line in unused(source):
        print(line.strip(), flush=True)
    write_bundle(pipe, options)


def parts_of(pipe: DiffusionPipeline, family: Family, options: Options) -> list[Part]:
    network = getattr(pipe, family.network)
    denoiser = family.denoiser(network)
    parts = [*text_parts(pipe, family.encoders), denoiser]
    if options.perturb is not None:
        changed = perturbed(network, parse(options.perturb, family.name), family.name)
        parts.append(family.denoiser(changed))
        parts[-1].name = "perturbed_denoiser"
    parts += family.vae(pipe.vae)
    if options.weak is not None:
        parts.append(weak_part(options, family, denoiser))
    return parts


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
    parts = parts_of(pipe, family, options)
    take_networks(pipe)
    progress = Progress(parts)
    while parts:
        part = parts.pop(0)
        progress.next(part.name)
        part.module.eval().requires_grad_(False)
        written = write(
            part, options.out, options.backend, options.ops is not None and part.name.endswith("denoiser")
        )
        del part
        archives.give_memory_back()
        check(written)
        components[written.path.stem] = written.entry
    manifest = {"format": 1, "name": name_of(options.pipeline), **chosen(family.manifest, options)}
    manifest |= {"torch": torch.__version__.split("+")[0], "components": components | released}
    manifest_path.write_text(json.dumps(manifest, indent=2) + "\n")
