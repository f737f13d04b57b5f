"""Checkpoints of a single file, SDXL's and FLUX's, as folders: their configurations come from the weights.

Which model a file holds is told as diffusers' `from_single_file` tells it. What that would download, the
configurations of the released models, is made here, with the sizes that the tensors have.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import diffusers
import torch
from accelerate import init_empty_weights
from diffusers import ModelMixin
from diffusers.loaders import single_file_utils as ldm
from safetensors import safe_open
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves
from transformers import CLIPTokenizer, T5Tokenizer

from . import layouts
from .errors import ExportError, require
from .families import COMPONENTS
from .folder import (
    Component,
    Folder,
    check_layout,
    check_tokenizer,
    find_weights,
    first_line,
    read_shapes,
)
from .tokenizers import clip_tokenizer, clip_vocabulary

Shapes = Mapping[str, Tensor]  # tensors without storage

# What diffusers calls other files, for a refusal that says what one is.
KINDS = {
    "v1": "Stable Diffusion 1, or none that is known",
    "v2": "Stable Diffusion 2",
    "xl_refiner": "SDXL's refiner",
    "xl_inpaint": "SDXL's inpainting model",
    "inpainting": "an inpainting model of Stable Diffusion 1",
    "inpainting_v2": "an inpainting model of Stable Diffusion 2",
    "flux-fill": "FLUX.1 Fill",
    "flux-depth": "FLUX.1 Depth or Canny",
    "playground-v2-5": "Playground 2.5, whose noise levels are EDM's",
}
# What a file may hold that no component reads: what training left, and constants that a class computes.
UNREAD = ("model_ema.", "denoiser.", "alphas_cumprod", "position_ids", "logit_scale", "v_pred", "ztsnr")


@dataclass(frozen=True)
class Piece:
    """One network of a file: where its tensors are, and how they become diffusers'."""

    prefix: str
    configured: Callable[[Shapes], dict[str, object]]  # config.json, from tensors named without the prefix
    converted: Callable[[dict[str, Tensor], dict[str, object]], dict[str, Tensor]]


@dataclass(frozen=True)
class Model:
    pipeline: str
    options: dict[str, object]  # of model_index.json
    scheduler: tuple[str, dict[str, object]]
    pieces: dict[str, tuple[Piece, ...]]  # by component, in the layouts that files have
    tokenizers: dict[str, type]


SDXL = Model(
    "StableDiffusionXLPipeline",
    {"force_zeros_for_empty_prompt": True},
    (
        "EulerDiscreteScheduler",
        {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1,
         "timestep_spacing": "leading", "num_train_timesteps": 1000, "prediction_type": "epsilon"},
    ),
    {
        "unet": (Piece("model.diffusion_model.", layouts.sdxl_unet_config, layouts.sdxl_unet),),
        "vae": (Piece("first_stage_model.", layouts.sdxl_vae_config, layouts.vae),),
        "text_encoder": (
            Piece("conditioner.embedders.0.transformer.text_model.", layouts.clip_config, layouts.clip),
        ),
        "text_encoder_2": (
            Piece("conditioner.embedders.1.model.", layouts.open_clip_config, layouts.open_clip),
        ),
    },
    {"tokenizer": CLIPTokenizer, "tokenizer_2": CLIPTokenizer},
)  # fmt: skip


def flux_model(guided: bool) -> Model:
    scheduler = {
        "num_train_timesteps": 1000, "shift": 3.0 if guided else 1.0, "use_dynamic_shifting": guided,
        "base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256, "max_image_seq_len": 4096,
    }  # fmt: skip
    transformer = (
        Piece(prefix, layouts.flux_config, layouts.flux) for prefix in ("model.diffusion_model.", "")
    )
    return Model(
        "FluxPipeline",
        {},
        ("FlowMatchEulerDiscreteScheduler", scheduler),
        {
            "transformer": tuple(transformer),
            "vae": (Piece("vae.", layouts.flux_vae_config, layouts.vae),),
            "text_encoder": (
                Piece("text_encoders.clip_l.transformer.text_model.", layouts.clip_config, layouts.clip),
            ),
            "text_encoder_2": (
                Piece("text_encoders.t5xxl.transformer.", layouts.t5_config, layouts.t5),
            ),
        },
        {"tokenizer": CLIPTokenizer, "tokenizer_2": T5Tokenizer},
    )  # fmt: skip


def model_of(path: Path, shapes: Shapes) -> Model:
    """The kind of model that a file holds; fails for all that are not supported."""
    scaled = [name for name in shapes if name.endswith((".scale_weight", "scaled_fp8", ".weight_scale"))]
    require(not scaled, f"{path}: quantised weights with scales, such as {scaled[:1]}, are not supported")
    require("edm_vpred.sigma_max" not in shapes, f"{path}: EDM's v-prediction (CosXL) is not supported")
    try:
        kind = ldm.infer_diffusers_model_type(dict(shapes))
    except Exception as error:
        raise ExportError(f"{path}: not a checkpoint that is known: {first_line(error)}") from error
    if kind == "xl_base":
        return predicting_v(shapes)
    if kind in ("flux-dev", "flux-schnell"):
        return flux_model(kind == "flux-dev")
    told = f"{kind}, {KINDS[kind]}" if kind in KINDS else kind
    raise ExportError(
        f"{path}: the checkpoint is of the kind {told}; supported are xl_base (SDXL), flux-dev and "
        "flux-schnell"
    )


def predicting_v(shapes: Shapes) -> Model:
    """SDXL, with what two empty tensors say in the files of models that predict v."""
    name, config = SDXL.scheduler
    changes: dict[str, object] = {"prediction_type": "v_prediction"} if "v_pred" in shapes else {}
    if "ztsnr" in shapes:
        changes["rescale_betas_zero_snr"] = True
    return Model(SDXL.pipeline, SDXL.options, (name, config | changes), SDXL.pieces, SDXL.tokenizers)


def own_names(names: list[str], piece: Piece, model: Model) -> list[str]:
    """The names of a piece's tensors. Those of a piece without a prefix are what no other piece has."""
    others = [p.prefix for pieces in model.pieces.values() for p in pieces if p.prefix and p is not piece]
    return [name for name in names if name.startswith(piece.prefix)
            and (piece.prefix or not name.startswith((*others, *UNREAD)))]  # fmt: skip


def piece_in(shapes: Shapes, pieces: tuple[Piece, ...], model: Model) -> tuple[Piece, list[str]] | None:
    for piece in pieces:
        names = own_names(list(shapes), piece, model)
        if names:
            return piece, names
    return None


def read_tensors(path: Path, names: list[str]) -> dict[str, Tensor]:
    with safe_open(str(path), framework="pt") as file:
        return {name: file.get_tensor(name) for name in names}


class Reading(TorchFunctionMode):
    """Remembers the tensors that others are made of. To look at a shape is not to read."""

    def __init__(self) -> None:
        super().__init__()
        self.read: set[int] = set()

    def __torch_function__(
        self, function: Callable, _: object, args: tuple = (), kwargs: dict | None = None
    ) -> object:
        result = function(*args, **(kwargs or {}))
        if any(isinstance(leaf, Tensor) for leaf in tree_leaves(result)):
            self.read |= {id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)}
        return result


def part_of_file(
    path: Path, name: str, kind: type, found: tuple[Piece, list[str]], shapes: Shapes
) -> tuple[Component, list[str]]:
    """A component whose weights are in the file, and its tensors that the network has not."""
    piece, names = found

    def state(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        own = {name.removeprefix(piece.prefix): value for name, value in tensors.items()}
        return piece.converted(own, config)

    try:
        config = piece.configured({name.removeprefix(piece.prefix): shapes[name] for name in names})
        with Reading() as reading:
            layout = state({name: shapes[name] for name in names})
    except (KeyError, IndexError, ValueError) as error:
        raise ExportError(f"{path}: {name}: a tensor is missing or of another shape: {error}") from error
    part = Component(name, path, kind.__module__.split(".")[0], kind, [path])
    part.stored = sum(shapes[name].numel() * shapes[name].element_size() for name in names)
    part.made = lambda: empty_network(kind, config)
    part.state = lambda: state(read_tensors(path, names))
    check_layout(part, layout)
    read = reading.read | {id(tensor) for tensor in layout.values()}
    return part, [name for name in names if id(shapes[name]) not in read]


def empty_network(kind: type, config: dict[str, object]) -> nn.Module:
    """A network whose weights, but not its constants, are without storage."""
    with init_empty_weights(include_buffers=False):
        if issubclass(kind, ModelMixin):
            return kind.from_config(config)
        return kind(kind.config_class(**config))


def part_of_folder(name: str, kind: type, folders: tuple[Path, ...], variant: str | None) -> Component | None:
    for folder in folders:
        if (folder / name).is_dir():
            part = Component(name, folder / name, kind.__module__.split(".")[0], kind)
            find_weights(part, variant) if part.network else check_tokenizer(part)
            return part
    return None


def made_tokenizer(path: Path, name: str) -> Component | None:
    """CLIP's tokenizer, whose second one in SDXL pads with "!"; none without the vocabulary."""
    file = clip_vocabulary()
    if file is None:
        return None
    part = Component(name, path, "transformers", CLIPTokenizer)
    part.made = lambda: clip_tokenizer(file, "!" if name == "tokenizer_2" else "<|endoftext|>")
    return part


def scheduler_part(path: Path, model: Model) -> Component:
    name, config = model.scheduler
    part = Component("scheduler", path, "diffusers", getattr(diffusers, name))
    part.made = lambda: part.kind.from_config(config)
    return part


def read_file(path: Path, folders: tuple[Path, ...] = (), variant: str | None = None) -> Folder:
    """Reads what a file consists of, as read_folder does; `folders` have what it lacks."""
    require(path.suffix == ".safetensors", f"{path}: expected a .safetensors file; others may run code")
    for folder in folders:
        require(folder.is_dir(), f"--components {folder}: no such folder")
    shapes = read_shapes(path)
    model = model_of(path, shapes)
    components, unused = {"scheduler": scheduler_part(path, model)}, set(shapes)
    for name, pieces in model.pieces.items():
        kind, found = COMPONENTS[model.pipeline][name], piece_in(shapes, pieces, model)
        if found:
            components[name], unread = part_of_file(path, name, kind, found, shapes)
            unused -= set(found[1]) - set(unread)
        else:
            components[name] = part_of_folder(name, kind, folders, variant)
    for name, kind in model.tokenizers.items():
        components[name] = part_of_folder(name, kind, folders, variant)
        if components[name] is None and kind is CLIPTokenizer:
            components[name] = made_tokenizer(path, name)
    missing = [name for name, part in components.items() if part is None]
    vocabulary = any(model.tokenizers.get(name) is CLIPTokenizer for name in missing)
    require(
        not missing,
        f"{path}: without {', '.join(missing)}; --components names a folder in diffusers' layout that has "
        "what a file lacks" + (", the package open_clip_torch has CLIP's vocabulary" if vocabulary else ""),
    )
    told = sorted(name for name in unused if not any(part in name for part in UNREAD))
    return Folder(path, model.pipeline, dict(model.options), components, told)
