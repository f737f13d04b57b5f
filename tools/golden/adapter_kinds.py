"""Adapter files of every kind and dialect for the tiny models, and what their judges make of them.

    python tools/golden/adapter_kinds.py [FOLDER]      (default: tests/data/families)

The files are FOLDER/FAMILY/kind-NAME.safetensors, or folders of PEFT's; kinds.safetensors has the denoiser's
predictions for the inputs of lora.safetensors, called for instance "dora*0.7". The judge is diffusers where
it loads such files, PEFT where it has the kind, the published formula in float64 elsewhere: LyCORIS' for
lora_mid and for dora_scale, LightX2V's for differences.
"""

from __future__ import annotations

import inspect
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from adapters import FAMILIES, RANK, factors, inputs, kohya, targets
from diffusers import DiffusionPipeline
from diffusers.loaders import lora_conversion_utils, lora_pipeline
from diffusers.loaders.single_file_utils import convert_sd3_transformer_checkpoint_to_diffusers
from peft import LoHaConfig, LoKrConfig, get_peft_model, inject_adapter_in_model
from peft.tuners.lycoris_utils import LycorisLayer
from safetensors.torch import save_file
from tiny_pipelines import DATA, saved
from torch import Tensor, nn

Tensors = dict[str, Tensor]
Apply = Callable[[DiffusionPipeline, float], None]
SCALES = (0.7, -1.2)
WHOLE_RANK = 2  # of the LoKr with whole factors


@dataclass(frozen=True)
class Case:
    """A file's tensors, and how a judge applies it to the denoiser at a scale."""

    tensors: Tensors
    apply: Apply
    config: dict[str, object] | None = None  # of PEFT's folder


def draw(generator: torch.Generator, *shape: int, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=generator) * scale


def network(pipe: DiffusionPipeline) -> nn.Module:
    return pipe.unet if hasattr(pipe, "unet") else pipe.transformer


def magnitude(module: nn.Module, generator: torch.Generator) -> Tensor:
    """A norm for each output, somewhat off the weight's own."""
    norms = module.weight.flatten(1).norm(dim=1)
    return norms * (1 + 0.3 * draw(generator, len(norms)))


def by_diffusers(tensors: Tensors) -> Apply:
    def apply(pipe: DiffusionPipeline, scale: float) -> None:
        pipe.load_lora_weights(dict(tensors), adapter_name="a")
        pipe.set_adapters(["a"], [scale])

    return apply


def by_formula(change: Callable[[Tensor, str, float], Tensor | None]) -> Apply:
    """Replaces parameters by `change(parameter in float64, name, scale)`."""

    def apply(pipe: DiffusionPipeline, scale: float) -> None:
        for name, parameter in network(pipe).named_parameters():
            if (changed := change(parameter.double(), name, scale)) is not None:
                parameter.copy_(changed)

    return apply


def added(deltas: Tensors) -> Apply:
    used = set()

    def change(parameter: Tensor, name: str, scale: float) -> Tensor | None:
        if name not in deltas:
            return None
        used.add(name)
        return parameter + scale * deltas[name].double().reshape(parameter.shape)

    def apply(pipe: DiffusionPipeline, scale: float) -> None:
        by_formula(change)(pipe, scale)
        assert used == set(deltas), set(deltas) - used

    return apply


def lycoris_of_peft(
    pipe: DiffusionPipeline, config: LoHaConfig | LoKrConfig, seed: int
) -> tuple[Tensors, Apply]:
    """PEFT's parameters of a kind, drawn anew, by layer and name; and PEFT applying them at a scale."""
    part = inject_adapter_in_model(config, network(pipe))
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, module in part.named_modules():
        if not isinstance(module, LycorisLayer):
            continue
        for kind in module.adapter_layer_names:
            for value in getattr(module, kind).values():
                tensors[f"{name}.{kind}"] = draw(generator, *value.shape, scale=0.35)

    def apply(other: DiffusionPipeline, scale: float) -> None:
        inject_adapter_in_model(config, network(other))
        for name, module in network(other).named_modules():
            if isinstance(module, LycorisLayer):
                for kind in module.adapter_layer_names:
                    for value in getattr(module, kind).values():
                        value.copy_(tensors[f"{name}.{kind}"])
                module.set_scale("default", scale)

    return tensors, apply


def as_kohya(tensors: Tensors, prefix: str, alpha: float) -> Tensors:
    """LyCORIS' keys: underscores for dots, an alpha for each layer.

    PEFT scales two whole factors by alpha / r too, LyCORIS does not: there the scale goes into the first.
    """
    flat = {}
    for key, value in tensors.items():
        layer, kind = key.rsplit(".", 1)
        if kind == "lokr_w1" and f"{layer}.lokr_w2" in tensors:
            value = value * alpha / WHOLE_RANK
        flat[f"{prefix}{layer.replace('.', '_')}.{kind}"] = value
        flat[f"{prefix}{layer.replace('.', '_')}.alpha"] = torch.tensor(alpha)
    return flat


def sdxl(pipe: DiffusionPipeline, fresh: Callable[[], DiffusionPipeline]) -> dict[str, Case]:
    generator = torch.Generator().manual_seed(107)
    unet = pipe.unet
    both = targets(unet, "to_q", "to_out.0", "conv1")
    dora, rows, columns, deltas = {}, {}, {}, {}
    for name, module in both.items():
        down, up = factors(module, generator)
        norm = magnitude(module, generator)
        ones = [1] * (module.weight.dim() - 2)
        dora |= {f"unet.{name}.lora_A.weight": down, f"unet.{name}.lora_B.weight": up}
        dora[f"unet.{name}.lora_magnitude_vector"] = norm.reshape(1, -1, *ones) if ones else norm
        flat = "lora_unet_" + name.replace(".", "_")
        rows |= kohya(flat, down, up) | {f"{flat}.dora_scale": norm.reshape(-1, 1, *ones)}
        columns |= kohya(flat, down, up)
        per_input = module.weight.transpose(0, 1).flatten(1).norm(dim=1)
        per_input = per_input * (1 + 0.3 * draw(generator, len(per_input)))
        columns[f"{flat}.dora_scale"] = per_input.reshape(1, -1, *ones)
        product = 0.5 * up.double().flatten(1) @ down.double().flatten(1)  # alpha 2, rank 4
        deltas[f"{name}.weight"] = product.reshape(module.weight.shape)

    def lycoris_dora(scales: Tensors, by_input: bool) -> Callable[[Tensor, str, float], Tensor | None]:
        def change(weight: Tensor, name: str, scale: float) -> Tensor | None:
            if name not in deltas:
                return None
            changed = weight + scale * deltas[name]
            norms = changed.transpose(0, 1) if by_input else changed
            norms = norms.flatten(1).norm(dim=1).reshape(-1, *[1] * (weight.dim() - 1))
            norms = norms.transpose(0, 1) if by_input else norms
            flat = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
            return scales[f"{flat}.dora_scale"].double() * changed / norms

        return change

    tucker, mixed = {}, {}
    for name, module in targets(unet, "conv1").items():
        out, inner, *kernel = module.weight.shape
        down, up = draw(generator, 3, inner, 1, 1, scale=0.5), draw(generator, out, 3, 1, 1, scale=0.5)
        mid = draw(generator, 3, 3, *kernel, scale=0.3)
        flat = "lora_unet_" + name.replace(".", "_")
        tucker |= kohya(flat, down, up) | {f"{flat}.lora_mid.weight": mid}
        mixed[f"{name}.weight"] = 2 / 3 * torch.einsum(
            "ijkl,pi,jr->prkl", mid.double(), up.double().flatten(1), down.double().flatten(1)
        )
    differences, whole = {}, {}
    for name, module in targets(unet, "to_k", "norm1", "norm2", "conv_norm_out", "conv_out").items():
        flat = "lora_unet_" + name.replace(".", "_")
        kinds = ("w_norm", "b_norm") if "norm" in name else ("diff", "diff_b")
        for kind, parameter in zip(kinds, ("weight", "bias"), strict=True):
            if (value := getattr(module, parameter)) is not None:
                delta = draw(generator, *value.shape, scale=0.2)
                differences[f"{flat}.{kind}"] = delta
                whole[f"{name}.{parameter}"] = delta

    chosen = ["to_q", "to_v", "conv1", "conv_shortcut"]
    cores = {"r": 3, "alpha": 6, "target_modules": chosen, "init_weights": False}
    cores |= {"use_effective_conv2d": True}
    loha, apply_loha = lycoris_of_peft(fresh(), LoHaConfig(**cores), 108)
    plain, apply_plain = lycoris_of_peft(fresh(), LoHaConfig(**cores | {"use_effective_conv2d": False}), 109)
    lokr, apply_lokr = lycoris_of_peft(fresh(), LoKrConfig(**cores | {"r": WHOLE_RANK}), 110)
    lokr2, apply_lokr2 = lycoris_of_peft(fresh(), LoKrConfig(**cores | {"r": 1}, decompose_both=True), 111)
    return {
        "dora": Case(dora, by_diffusers(dora)),
        "dora-rows": Case(rows, by_formula(lycoris_dora(rows, by_input=False))),
        "dora-columns": Case(columns, by_formula(lycoris_dora(columns, by_input=True))),
        "tucker": Case(tucker, added(mixed)),
        "difference": Case(differences, added(whole)),
        "loha": Case(as_kohya(loha, "lora_unet_", 6.0), apply_loha),
        "loha-plain": Case(as_kohya(plain, "lycoris_", 6.0), apply_plain),
        "lokr": Case(as_kohya(lokr, "lora_unet_", 6.0), apply_lokr),
        "lokr-both": Case(as_kohya(lokr2, "lora_unet_", 6.0), apply_lokr2),
    }


class Sparse(dict):
    """A checkpoint whose missing tensors are zeros of any shape."""

    def pop(self, key: str, *unused: object) -> Tensor:
        return super().pop(key, torch.zeros(6, 1))


def sd3(pipe: DiffusionPipeline, fresh: Callable[[], DiffusionPipeline]) -> dict[str, Case]:
    """sd-scripts' names of the published checkpoint, which diffusers converts whole; PEFT's folders."""
    generator = torch.Generator().manual_seed(137)
    config = pipe.transformer.config
    dim = config.num_attention_heads * config.attention_head_dim
    shapes = {"t_embedder.mlp.2": (dim, dim), "final_layer.adaLN_modulation.1": (2 * dim, dim),
              "final_layer.linear": (64, dim)}  # fmt: skip
    for i in range(config.num_layers):
        last = i == config.num_layers - 1
        for side in ("x_block", "context_block"):
            at = f"joint_blocks.{i}.{side}"
            shapes |= {f"{at}.attn.qkv": (3 * dim, dim)}
            if side == "context_block" and last:
                shapes |= {f"{at}.adaLN_modulation.1": (2 * dim, dim)}
                continue
            dual = side == "x_block" and i in config.dual_attention_layers
            modulation = (9 if dual else 6) * dim
            shapes |= {f"{at}.attn.proj": (dim, dim), f"{at}.adaLN_modulation.1": (modulation, dim),
                       f"{at}.mlp.fc1": (4 * dim, dim), f"{at}.mlp.fc2": (dim, 4 * dim)}  # fmt: skip
            if dual:
                shapes |= {f"{at}.attn2.qkv": (3 * dim, dim), f"{at}.attn2.proj": (dim, dim)}
    tensors, published = {}, Sparse()
    for name, (out, inner) in shapes.items():
        down, up = draw(generator, RANK, inner, scale=inner**-0.5), draw(generator, out, RANK, scale=0.3)
        tensors |= kohya("lora_unet_" + name.replace(".", "_"), down, up)
        published[f"{name}.weight"] = 0.5 * (up @ down)
    for i in config.dual_attention_layers:  # by which the converter knows them
        published[f"joint_blocks.{i}.x_block.attn2.ln_q.weight"] = torch.zeros(config.attention_head_dim)
    published["context_embedder.weight"] = torch.zeros(dim, 1)
    converted = convert_sd3_transformer_checkpoint_to_diffusers(published)
    deltas = {name: value for name, value in converted.items() if value.any()}

    cases = {"kohya": Case(tensors, added(deltas))}
    for name, kind in (("peft-loha", LoHaConfig), ("peft-lokr", LoKrConfig)):
        config = kind(
            r=20 if kind is LoKrConfig else 4, alpha=7, target_modules=["to_q", "to_add_out", "ff.net.2"],
            init_weights=False, alpha_pattern={"ff.net.2": 3},
        )  # fmt: skip
        own, apply = lycoris_of_peft(fresh(), config, 138)
        stored = config.to_dict() | {"target_modules": sorted(config.target_modules)}
        stored["peft_type"] = kind().peft_type.value
        cases[name] = Case({f"base_model.model.{key}": value for key, value in own.items()}, apply, stored)
    return cases


def for_tiny(convert: Callable, replacements: dict[str, str]) -> Callable:
    """One of diffusers' converters, which have the sizes of the published model in them, for other sizes."""
    source = inspect.getsource(convert)
    for old, new in replacements.items():
        assert old in source, old
        source = source.replace(old, new)
    space = dict(vars(lora_conversion_utils))
    exec(source, space)
    return space[convert.__name__]


def flux(pipe: DiffusionPipeline, fresh: Callable[[], DiffusionPipeline]) -> dict[str, Case]:
    generator = torch.Generator().manual_seed(117)
    dim = 32
    double = {"img_mod.lin": (6 * dim, dim), "txt_mod.lin": (6 * dim, dim), "img_attn.qkv": (3 * dim, dim),
              "txt_attn.qkv": (3 * dim, dim), "img_attn.proj": (dim, dim), "txt_attn.proj": (dim, dim),
              "img_mlp.0": (4 * dim, dim), "img_mlp.2": (dim, 4 * dim), "txt_mlp.0": (4 * dim, dim),
              "txt_mlp.2": (dim, 4 * dim)}  # fmt: skip
    single = {"modulation.lin": (3 * dim, dim), "linear1": (7 * dim, dim), "linear2": (dim, 5 * dim)}
    shapes = {"time_in.in_layer": (dim, 256), "time_in.out_layer": (dim, dim),
              "vector_in.in_layer": (dim, dim),
              "vector_in.out_layer": (dim, dim), "guidance_in.in_layer": (dim, 256),
              "guidance_in.out_layer": (dim, dim), "txt_in": (dim, dim), "img_in": (dim, 64),
              "final_layer.linear": (64, dim), "final_layer.adaLN_modulation.1": (2 * dim, dim)}  # fmt: skip
    shapes |= {f"double_blocks.0.{name}": shape for name, shape in double.items()}
    shapes |= {f"single_blocks.0.{name}": shape for name, shape in single.items()}
    control = {}
    for name, (out, inner) in shapes.items():
        control[f"{name}.lora_A.weight"] = draw(generator, RANK, inner, scale=inner**-0.5)
        control[f"{name}.lora_B.weight"] = draw(generator, out, RANK, scale=0.3)
        control[f"{name}.lora_B.bias"] = draw(generator, out, scale=0.1)
    for norm in ("double_blocks.0.img_attn.norm", "double_blocks.0.txt_attn.norm", "single_blocks.0.norm"):
        for part in ("query_norm", "key_norm"):
            control[f"{norm}.{part}.scale"] = 1 + draw(generator, 16, scale=0.3)
    convert = for_tiny(
        lora_conversion_utils._convert_bfl_flux_control_lora_to_diffusers,
        {"num_layers = 19": "num_layers = 1", "num_single_layers = 38": "num_single_layers = 1",
         "inner_dim = 3072": f"inner_dim = {dim}",
         # The halves are those of the layer's outputs. diffusers 0.42.1 swaps halves of the rank too, in
         # lora_A alone, so that its product is another than the file's.
         '.weight"] = swap_scale_shift(':
             '.weight"] = (swap_scale_shift if lora_key == "lora_B" else torch.clone)('},
    )  # fmt: skip

    def apply_control(other: DiffusionPipeline, scale: float) -> None:
        original = lora_pipeline._convert_bfl_flux_control_lora_to_diffusers
        lora_pipeline._convert_bfl_flux_control_lora_to_diffusers = convert
        by_diffusers(control)(other, scale)
        lora_pipeline._convert_bfl_flux_control_lora_to_diffusers = original

    xlabs = {}
    for part, (out, inner) in {
        "double_blocks.0.processor.qkv_lora1": (3 * dim, dim),
        "double_blocks.0.processor.proj_lora1": (dim, dim),
        "double_blocks.0.processor.qkv_lora2": (3 * dim, dim),
        "double_blocks.0.processor.proj_lora2": (dim, dim),
        "single_blocks.0.processor.qkv_lora": (3 * dim, dim),
        "single_blocks.0.processor.proj_lora": (dim, 5 * dim),
    }.items():
        xlabs[f"{part}.down.weight"] = draw(generator, RANK, inner, scale=inner**-0.5)
        xlabs[f"{part}.up.weight"] = draw(generator, out, RANK, scale=0.3)

    fused, deltas = {}, {}
    for name, (first, second), parts in (
        ("double_blocks.0.img_attn.qkv", ((4, 8), (24, 4)), ("to_q", "to_k", "to_v")),
        ("double_blocks.0.txt_attn.qkv", ((7, 2), None), ("add_q_proj", "add_k_proj", "add_v_proj")),
    ):  # fmt: skip
        if second is None:  # a block of rows that begins in one part and ends in the next
            first, second = (2, 4), (48, 8)
        left, right = draw(generator, *first, scale=0.3), draw(generator, *second, scale=0.3)
        fused[f"diffusion_model.{name}.lokr_w1"] = left
        fused[f"diffusion_model.{name}.lokr_w2"] = right
        fused[f"diffusion_model.{name}.alpha"] = torch.tensor(64.0)  # without effect on whole factors
        split = torch.kron(left.double(), right.double()).chunk(3)
        deltas |= {f"transformer_blocks.0.attn.{p}.weight": d for p, d in zip(parts, split, strict=True)}
    return {
        "control": Case(control, apply_control),
        "xlabs": Case(xlabs, by_diffusers(xlabs)),
        "lokr-fused": Case(fused, added(deltas)),
    }


def wan(pipe: DiffusionPipeline, fresh: Callable[[], DiffusionPipeline]) -> dict[str, Case]:
    """Distillation's files: factors beside differences of biases, norms and modulations."""
    generator = torch.Generator().manual_seed(127)
    biases, distilled, deltas = {}, {}, {}
    parts = {"self_attn.q": "attn1.to_q", "self_attn.o": "attn1.to_out.0", "cross_attn.k": "attn2.to_k",
             "ffn.0": "ffn.net.0.proj", "ffn.2": "ffn.net.2"}  # fmt: skip
    named = dict(pipe.transformer.named_modules())
    for i in range(2):
        for part, ours in parts.items():
            module = named[f"blocks.{i}.{ours}"]
            down, up = factors(module, generator)
            bias = draw(generator, len(module.bias), scale=0.2)
            name = f"diffusion_model.blocks.{i}.{part}"
            biases |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up, f"{name}.diff_b": bias}
            distilled |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up}
            distilled[f"{name}.diff_b"] = bias
            deltas[f"blocks.{i}.{ours}.weight"] = up.double() @ down.double()
            deltas[f"blocks.{i}.{ours}.bias"] = bias
        whole = {"self_attn.norm_q.diff": "attn1.norm_q.weight",
                 "cross_attn.norm_k.diff": "attn2.norm_k.weight",
                 "norm3.diff": "norm2.weight", "norm3.diff_b": "norm2.bias", "diff_m": "scale_shift_table",
                 "self_attn.v.diff": "attn1.to_v.weight"}  # fmt: skip
        for key, ours in whole.items():
            shape = pipe.transformer.get_parameter(f"blocks.{i}.{ours}").shape
            distilled[f"diffusion_model.blocks.{i}.{key}"] = deltas[f"blocks.{i}.{ours}"] = draw(
                generator, *shape, scale=0.2
            )
    for key, ours in {"head.head.diff": "proj_out.weight", "head.head.diff_b": "proj_out.bias",
                      "head.diff_m": "scale_shift_table", "patch_embedding.diff": "patch_embedding.weight",
                      "time_projection.1.diff_b": "condition_embedder.time_proj.bias"}.items():  # fmt: skip
        shape = pipe.transformer.get_parameter(ours).shape
        distilled[f"diffusion_model.{key}"] = deltas[ours] = draw(generator, *shape, scale=0.1)
    return {"bias": Case(biases, by_diffusers(biases)), "distilled": Case(distilled, added(deltas))}


MAKERS = {"sdxl": sdxl, "sd3": sd3, "flux": flux, "wan": wan}


def write_peft(case: Case, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    save_file({k: v.contiguous() for k, v in case.tensors.items()}, str(folder / "adapter_model.safetensors"))
    kept = {k: v for k, v in sorted(case.config.items()) if k != "peft_version"}
    (folder / "adapter_config.json").write_text(json.dumps(kept, indent=1, default=str) + "\n")


@torch.no_grad()
def write(family: str, source: Path, folder: Path) -> None:
    def fresh() -> DiffusionPipeline:
        return DiffusionPipeline.from_pretrained(str(source))

    arguments = tuple(inputs(family).values())
    results = {}
    for name, case in MAKERS[family](fresh(), fresh).items():
        if case.config is None:
            file = folder / f"kind-{name}.safetensors"
            save_file({k: v.contiguous() for k, v in case.tensors.items()}, str(file))
        else:
            write_peft(case, folder / f"kind-{name}")
        for scale in SCALES:
            pipe = fresh()
            case.apply(pipe, scale)
            results[f"{name}*{scale}"] = FAMILIES[family].denoiser(pipe).eval()(*arguments)
    save_file({k: v.contiguous() for k, v in results.items()}, str(folder / "kinds.safetensors"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        for wanted in MAKERS:
            target = (Path(sys.argv[1]) if len(sys.argv) > 1 else DATA) / wanted
            target.mkdir(parents=True, exist_ok=True)
            write(wanted, saved(wanted, Path(work)), target)
