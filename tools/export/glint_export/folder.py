"""A pipeline's folder, looked at before any weights are loaded."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from diffusers import ModelMixin
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from .errors import ExportError, require

# What a pipeline can have beside what a bundle holds. None of it takes part in pictures made from text.
UNUSED = {
    "feature_extractor": "prepares pictures for the two below",
    "image_encoder": "reads pictures that an IP adapter is given",
    "safety_checker": "judges finished pictures",
}
LIBRARIES = ("diffusers", "transformers")
STORED = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8,
    "BOOL": torch.bool,
}  # fmt: skip
STEMS = {"diffusers": ("diffusion_pytorch_model",), "transformers": ("model", "pytorch_model")}


@dataclass
class Component:
    name: str
    folder: Path
    library: str
    kind: type
    weights: list[Path] = field(default_factory=list)  # files, empty for schedulers and tokenizers
    variant: str | None = None
    # Of a single file, instead of the folder:
    made: Callable[[], object] | None = None  # the component, a network without its weights
    state: Callable[[], dict[str, Tensor]] | None = None  # a network's weights
    stored: int | None = None  # their bytes

    @property
    def network(self) -> bool:
        return issubclass(self.kind, nn.Module)

    @property
    def bytes(self) -> int:
        return self.stored if self.stored is not None else sum(path.stat().st_size for path in self.weights)


@dataclass
class Folder:
    path: Path  # or a single file
    pipeline: str  # its class
    options: dict[str, object]  # of model_index.json that are no components
    components: dict[str, Component]
    unused: list[str] = field(default_factory=list)  # tensors of a single file that no component has
    ignored: list[str] = field(default_factory=list)  # entries of configurations that no class knows


def described(folder: Path) -> dict[str, object]:
    """What model_index.json says."""
    require(folder.is_dir(), f"{folder}: no such folder")
    path = folder / "model_index.json"
    require(path.is_file(), f"{folder}: not a pipeline in diffusers' format: there is no {path.name} in it")
    return read_json(path)


def read_json(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ExportError(f"{path}: cannot be read as JSON, it may be cut short: {error}") from error
    require(isinstance(content, dict), f"{path}: expected a JSON object")
    return content


def component_of(folder: Path, name: str, library: object, kind: object) -> Component:
    place = f"{folder / 'model_index.json'}: {name}"
    found = None
    if library in LIBRARIES:
        found = getattr(importlib.import_module(str(library)), str(kind), None)
    require(
        inspect.isclass(found),
        f"{place}: {library}.{kind} is not a class of diffusers or transformers; custom code is not run",
    )
    path = folder / name
    require(path.is_dir(), f"{folder}: the folder {name} is missing")
    return Component(name, path, str(library), found)


def variants(component: Component) -> dict[str | None, list[Path]]:
    """The weights of a network that are complete, by variant: None, fp16 and so on."""
    found: dict[str | None, list[Path]] = {}
    for stem in STEMS[component.library]:
        for suffix in (".bin", ".safetensors"):
            for index in component.folder.glob(f"{stem}*{suffix}.index*.json"):
                parts = set(read_json(index).get("weight_map", {}).values())
                missing = sorted(part for part in parts if not (index.parent / part).is_file())
                require(not missing, f"{index}: names {', '.join(missing)}, which is missing")
                middle = index.name.removeprefix(stem + suffix).removeprefix(".index").removesuffix(".json")
                found[middle.strip(".") or None] = [index.parent / part for part in sorted(parts)]
            for path in component.folder.glob(f"{stem}*{suffix}"):
                middle = path.name.removeprefix(stem).removesuffix(suffix)
                if "-of-" not in middle and (not middle or middle.startswith(".")):
                    found[middle.strip(".") or None] = [path]
    return found


def check_safetensors(path: Path) -> dict[str, dict[str, object]]:
    """The header of a file, which is as long as it says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        require(length + 8 <= size, f"{path}: cut short, or not a safetensors file")
        try:
            header = json.loads(file.read(length))
            header.pop("__metadata__", None)
            ends = [entry["data_offsets"][1] for entry in header.values()]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ExportError(f"{path}: not a safetensors file") from error
    expected = 8 + length + max(ends, default=0)
    require(size == expected, f"{path}: has {size:,} bytes instead of {expected:,}; it may be cut short")
    return header


def read_shapes(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, without storage."""
    shapes = {}
    for name, entry in check_safetensors(path).items():
        dtype = STORED.get(str(entry["dtype"]))
        require(dtype is not None, f"{path}: {name} is of the type {entry['dtype']}, which is not supported")
        shapes[name] = torch.empty(entry["shape"], dtype=dtype, device="meta")
    return shapes


def check_tokenizer(component: Component) -> None:
    """Fails if a tokenizer has no vocabulary, which transformers would make an empty one of."""
    names = {path.name for path in component.folder.iterdir()}
    whole = "tokenizer.json" in names or {"vocab.json", "merges.txt"} <= names
    require(
        whole or any(name.endswith(".model") for name in names),
        f"{component.folder}: no vocabulary in it; expected tokenizer.json, vocab.json and merges.txt, or a "
        "SentencePiece model",
    )


def check_quantization(component: Component) -> None:
    """Fails for weights that only a library of its own can read."""
    path = component.folder / "config.json"
    found = read_json(path).get("quantization_config") if path.is_file() else None
    method = found.get("quant_method") if isinstance(found, dict) else found
    require(
        not found,
        f"{path}: quantization_config of {method} is not supported; export the weights as they were before",
    )


def find_weights(component: Component, variant: str | None) -> None:
    check_quantization(component)
    found = variants(component)
    names = ", ".join(sorted(name or "without a variant" for name in found)) or "none"
    if variant is not None and variant not in found and None in found:
        variant = None  # as diffusers does: a variant need not have all components
    if variant is None and None not in found and len(found) == 1:
        variant = next(iter(found))
    require(
        variant in found,
        f"{component.folder}: no weights{f' of the variant {variant}' if variant else ''}; found: {names}"
        + ("; --variant says which" if len(found) > 1 else ""),
    )
    component.weights, component.variant = found[variant], variant
    for path in component.weights:
        if path.suffix == ".safetensors":
            check_safetensors(path)


def read_folder(path: Path, pipelines: tuple[str, ...], variant: str | None = None) -> Folder:
    """Reads what a pipeline consists of, and checks that its files are there and whole."""
    index = described(path)
    name = index.get("_class_name")
    if isinstance(name, list):
        name = ".".join(map(str, name))
        raise ExportError(f"{path}: {name} is a community pipeline, whose code is not run")
    require(name in pipelines, f"{path}: {name} is not supported; known are {', '.join(pipelines)}")
    options, components = {}, {}
    for key, value in index.items():
        if isinstance(value, list) and len(value) == 2:
            if value[0] is not None and key not in UNUSED:
                components[key] = component_of(path, key, *value)
        elif not key.startswith("_"):
            options[key] = value
    for component in components.values():
        if component.network:
            find_weights(component, variant)
        elif issubclass(component.kind, PreTrainedTokenizerBase):
            check_tokenizer(component)
    return Folder(path, str(name), options, components)


def hollow(component: Component) -> object:
    """A component without its weights: networks have tensors without storage."""
    try:
        if component.made:
            return component.made()
        if issubclass(component.kind, ModelMixin):
            config = component.kind.load_config(str(component.folder), local_files_only=True)
            with torch.device("meta"):
                return component.kind.from_config(config)
        if issubclass(component.kind, PreTrainedModel):
            config = component.kind.config_class.from_pretrained(str(component.folder), local_files_only=True)
            with torch.device("meta"):
                return component.kind(config)
        return component.kind.from_pretrained(str(component.folder), local_files_only=True)
    except ExportError:
        raise
    except Exception as error:
        raise ExportError(
            f"{component.folder}: {component.kind.__name__} cannot be made from its files: "
            f"{first_line(error)}"
        ) from error


def loaded(component: Component, dtype: torch.dtype) -> object:
    """A component with its weights, every one of them from its files."""
    if not component.network:
        return hollow(component)
    if component.state:
        return filled(component, dtype)
    try:
        network, info = component.kind.from_pretrained(
            str(component.folder), variant=component.variant, local_files_only=True, output_loading_info=True,
            use_safetensors=component.weights[0].suffix == ".safetensors",
            **{"torch_dtype" if component.library == "diffusers" else "dtype": dtype},
        )  # fmt: skip
    except Exception as error:
        raise ExportError(f"{component.folder}: the weights cannot be loaded: {first_line(error)}") from error
    missing = sorted(info["missing_keys"])
    require(
        not missing,
        f"{component.folder}: {len(missing)} weights are missing, among them {', '.join(missing[:3])}",
    )
    return network.eval().requires_grad_(False)


def check_layout(component: Component, layout: Mapping[str, Tensor]) -> None:
    """Fails unless these are all weights that a component's network has, and of its shapes."""
    network = hollow(component)
    wanted, where = network.state_dict(), f"{component.folder}: {component.name}"
    missing = sorted(wanted.keys() - layout.keys())
    require(
        not missing,
        f"{where}: {len(missing)} weights of {component.kind.__name__} are missing, among them "
        f"{', '.join(missing[:3])}",
    )
    for name, tensor in wanted.items():
        require(
            tensor.shape == layout[name].shape,
            f"{where}: {name} has the shape {tuple(layout[name].shape)} instead of {tuple(tensor.shape)}",
        )
    further = sorted(layout.keys() - wanted.keys())
    require(
        not further,
        f"{where}: {len(further)} weights are none of {component.kind.__name__}'s, among them "
        f"{', '.join(further[:3])}",
    )


def filled(component: Component, dtype: torch.dtype) -> nn.Module:
    """A network with the weights that a single file has of it."""
    network, state = hollow(component), component.state()
    kept = getattr(network, "_keep_in_fp32_modules", None) or () if dtype == torch.float16 else ()
    for name, tensor in state.items():
        wide = any(part in kept for part in name.split("."))
        state[name] = tensor.to(torch.float32 if wide else dtype).contiguous()
    network.load_state_dict(state, assign=True)
    if isinstance(network, PreTrainedModel):
        network.tie_weights()
    return network.eval().requires_grad_(False)


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
