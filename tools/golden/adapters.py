"""LoRA files for the tiny SDXL, SD3, FLUX and Wan models in the usual key forms, and diffusers' results.

python tools/golden/adapters.py [FOLDER]      (default: tests/data/families)

The files are FOLDER/FAMILY/lora-NAME.safetensors; lora.safetensors has inputs and the denoiser's predictions
with fused adapters, called for instance "peft*0.7+kohya*-0.4".
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from diffusers import DiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import save_file
from tiny_pipelines import DATA, saved
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "export"))
from glint_export.denoisers import GuidedFluxDenoiser, Sd3Denoiser, SdxlDenoiser, WanDenoiser  # noqa: E402

RANK, ALPHA = 4, 2.0
TEXT_PROMPT = "a small golden fox in the snow"


@dataclass
class File:
    """The tensors of a LoRA file, and its metadata."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        save_file(
            {key: value.contiguous() for key, value in self.tensors.items()}, str(path), self.metadata or None
        )


def factors(module: nn.Module, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Down and up factors of a Linear or Conv2d."""
    weight = module.weight
    down = torch.randn(RANK, *weight.shape[1:], generator=generator) / weight[0].numel() ** 0.5
    up = torch.randn(weight.shape[0], RANK, *([1] * (weight.dim() - 2)), generator=generator) * 0.3
    return down, up


def targets(network: nn.Module, *ends: str) -> dict[str, nn.Module]:
    return {
        name: part
        for name, part in network.named_modules()
        if name.endswith(ends) and hasattr(part, "weight")
    }


def kohya(name: str, down: Tensor, up: Tensor) -> dict[str, Tensor]:
    return {
        f"{name}.lora_down.weight": down,
        f"{name}.lora_up.weight": up,
        f"{name}.alpha": torch.tensor(ALPHA),
    }


def checkpoint_name(layer: str) -> str:
    """A UNet layer's name in the published SDXL checkpoint; the tiny one has one residual layer a block."""
    if parts := re.fullmatch(r"(down|up)_blocks\.(\d+)\.(resnets|attentions)\.(\d+)\.(.*)", layer):
        side, block, kind, place, rest = parts.groups()
        index = 2 * int(block) + int(place) + (side == "down")
        name = f"{'input' if side == 'down' else 'output'}_blocks.{index}.{int(kind == 'attentions')}.{rest}"
    else:
        kind, place, rest = re.fullmatch(r"mid_block\.(resnets|attentions)\.(\d+)\.(.*)", layer).groups()
        name = f"middle_block.{1 if kind == 'attentions' else 2 * int(place)}.{rest}"
    return name.replace(".conv1", ".in_layers.2")


def files(pipe: StableDiffusionXLPipeline) -> dict[str, File]:
    """PEFT's form (alpha is the rank) and Kohya's (own alpha, both kinds of names); text encoders."""
    generator = torch.Generator().manual_seed(7)
    peft, flat, published, text, text_flat = {}, {}, {}, {}, {}
    # Attention's linear layers and the residual blocks' convolutions.
    for name, module in targets(pipe.unet, "to_q", "to_k", "to_v", "to_out.0", "conv1").items():
        down, up = factors(module, generator)
        peft |= {f"unet.{name}.lora_A.weight": down, f"unet.{name}.lora_B.weight": up}
        down, up = factors(module, generator)
        flat |= kohya("lora_unet_" + name.replace(".", "_"), down, up)
        published |= kohya("lora_unet_" + checkpoint_name(name).replace(".", "_"), down, up)
    for component, short in (("text_encoder", "lora_te1_"), ("text_encoder_2", "lora_te2_")):
        for name, module in targets(getattr(pipe, component), "q_proj", "v_proj", "fc1").items():
            down, up = factors(module, generator)
            text |= {f"{component}.{name}.lora_A.weight": down, f"{component}.{name}.lora_B.weight": up}
        # No attention here: diffusers 0.42.1 drops it from Kohya files that have both.
        for name, module in targets(getattr(pipe, component), "fc1", "fc2").items():
            # Published files have the level text_model for both encoders.
            layer = name if name.startswith("text_model.") else f"text_model.{name}"
            text_flat |= kohya(short + layer.replace(".", "_"), *factors(module, generator))
    made = {"peft": peft, "kohya": flat, "sgm": published, "text": text, "text-kohya": text_flat}
    return {f"lora-{name}": File(tensors) for name, tensors in made.items()}


def sd3_files(pipe: DiffusionPipeline) -> dict[str, File]:
    """PEFT's form, of both attentions of a block."""
    generator = torch.Generator().manual_seed(37)
    tensors = {}
    chosen = targets(pipe.transformer, "to_q", "to_out.0", "add_v_proj", "ff.net.2")
    for name, module in chosen.items():
        down, up = factors(module, generator)
        tensors |= {f"transformer.{name}.lora_A.weight": down, f"transformer.{name}.lora_B.weight": up}
    return {"lora-peft": File(tensors)}


def flux_files(pipe: DiffusionPipeline) -> dict[str, File]:
    """PEFT's form with settings as metadata; Kohya's with the published checkpoint's fused projections."""
    generator = torch.Generator().manual_seed(17)
    peft, flat = {}, {}
    chosen = targets(
        pipe.transformer, "to_q", "to_out.0", "add_k_proj", "ff.net.2", "proj_mlp", "norm1.linear"
    )
    for name, module in chosen.items():
        down, up = factors(module, generator)
        peft |= {f"transformer.{name}.lora_A.weight": down, f"transformer.{name}.lora_B.weight": up}
    settings = {"r": RANK, "lora_alpha": 6, "alpha_pattern": {"ff.net.2": 3}, "target_modules": list(chosen)}
    stored = json.dumps({f"transformer.{key}": value for key, value in settings.items()})
    for i, block in enumerate(pipe.transformer.transformer_blocks):
        for part, module in (
            ("img_attn_proj", block.attn.to_out[0]),
            ("txt_mlp_0", block.ff_context.net[0].proj),
        ):
            flat |= kohya(f"lora_unet_double_blocks_{i}_{part}", *factors(module, generator))
        for part, module in (("img_attn_qkv", block.attn.to_q), ("txt_attn_qkv", block.attn.add_q_proj)):
            down, up = factors(module, generator)
            up = torch.cat((up, up.flip(0), -up))
            flat |= kohya(f"lora_unet_double_blocks_{i}_{part}", down, up)
    for i, block in enumerate(pipe.transformer.single_transformer_blocks):
        flat |= kohya(f"lora_unet_single_blocks_{i}_linear2", *factors(block.proj_out, generator))
    return {
        "lora-peft": File(peft, {"format": "pt", "lora_adapter_metadata": stored}),
        "lora-kohya": File(flat),
    }


def wan_files(pipe: DiffusionPipeline) -> dict[str, File]:
    """The published checkpoint's names."""
    generator = torch.Generator().manual_seed(27)
    tensors = {}
    for i, block in enumerate(pipe.transformer.blocks):
        parts = {
            "self_attn.q": block.attn1.to_q, "self_attn.o": block.attn1.to_out[0],
            "cross_attn.k": block.attn2.to_k, "cross_attn.v": block.attn2.to_v,
            "ffn.0": block.ffn.net[0].proj, "ffn.2": block.ffn.net[2],
        }  # fmt: skip
        for part, module in parts.items():
            down, up = factors(module, generator)
            name = f"diffusion_model.blocks.{i}.{part}"
            tensors |= {f"{name}.lora_A.weight": down, f"{name}.lora_B.weight": up}
    return {"lora-published": File(tensors)}


def loaded(pipe: DiffusionPipeline, folder: Path, *names: str) -> None:
    for name in names or ("lora-peft", "lora-kohya"):
        pipe.load_lora_weights(str(folder), weight_name=f"{name}.safetensors", adapter_name=name)


def fused(source: Path, folder: Path, label: str, *components: str) -> DiffusionPipeline:
    """The pipeline with the adapters of a label such as "peft*0.7+kohya*-0.4" in its weights."""
    pipe = DiffusionPipeline.from_pretrained(str(source))
    if label == "base":
        return pipe
    scales = {f"lora-{name}": float(scale) for name, scale in (part.split("*") for part in label.split("+"))}
    loaded(pipe, folder, *scales)
    pipe.set_adapters(list(scales), list(scales.values()))
    pipe.fuse_lora(components=list(components), adapter_names=list(scales))
    pipe.unload_lora_weights()
    return pipe


def inputs(family: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(8)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    time = torch.tensor([700.0, 300.0])
    if family == "sdxl":
        ids = torch.tensor([[24.0, 32.0, 0.0, 0.0, 24.0, 32.0]]).repeat(2, 1)
        return {
            "latents": draw(2, 4, 12, 16),
            "time": time,
            "tokens": draw(2, 9, 64),
            "pooled": draw(2, 32),
            "time_ids": ids,
        }
    if family == "sd3":
        given = {"latents": draw(2, 16, 8, 12), "time": time, "tokens": draw(2, 9, 72), "pooled": draw(2, 64)}
        return {**given, "token_order": torch.arange(24)}
    if family == "flux":
        guidance = torch.tensor([3.5, 2.0])
        given = {"latents": draw(2, 16, 8, 12), "time": time, "tokens": draw(2, 9, 32), "pooled": draw(2, 32)}
        return {**given, "guidance": guidance, "token_order": torch.arange(24)}
    return {
        "latents": draw(2, 16, 2, 8, 6),
        "time": time,
        "tokens": draw(2, 9, 32),
        "token_order": torch.arange(24),
    }


@dataclass(frozen=True)
class Family:
    files: Callable[[DiffusionPipeline], dict[str, File]]
    denoiser: Callable[[DiffusionPipeline], nn.Module]
    component: str
    labels: tuple[str, ...]


FAMILIES = {
    "sdxl": Family(
        files, lambda pipe: SdxlDenoiser(pipe.unet), "unet",
        ("peft*0.8", "peft*-1.5", "kohya*1.5", "peft*0.7+kohya*-0.4", "sgm*1.5", "base"),
    ),
    "sd3": Family(
        sd3_files, lambda pipe: Sd3Denoiser(pipe.transformer), "transformer",
        ("peft*0.8", "peft*-1.5", "base"),
    ),
    "flux": Family(
        flux_files, lambda pipe: GuidedFluxDenoiser(pipe.transformer), "transformer",
        ("peft*0.8", "kohya*-1.2", "peft*0.5+kohya*0.5", "base"),
    ),
    "wan": Family(
        wan_files, lambda pipe: WanDenoiser(pipe.transformer), "transformer", ("published*-0.7", "base"),
    ),
}  # fmt: skip


@torch.no_grad()
def outputs(name: str, source: Path, folder: Path) -> dict[str, Tensor]:
    family, results = FAMILIES[name], inputs(name)
    arguments = tuple(results.values())
    for label in family.labels:
        results[label] = family.denoiser(fused(source, folder, label, family.component)).eval()(*arguments)
    if name == "sdxl":
        for label in ("text*0.8", "text-kohya*-0.6", "base"):
            pipe = fused(source, folder, label, "text_encoder", "text_encoder_2")
            tokens, _, pooled, _ = pipe.encode_prompt(TEXT_PROMPT, do_classifier_free_guidance=False)
            results |= {f"text.{label}.tokens": tokens, f"text.{label}.pooled": pooled}
    return results


def write(name: str, source: Path, folder: Path) -> None:
    pipe = DiffusionPipeline.from_pretrained(str(source))
    for label, file in FAMILIES[name].files(pipe).items():
        file.save(folder / f"{label}.safetensors")
    save_file(
        {k: v.contiguous() for k, v in outputs(name, source, folder).items()},
        str(folder / "lora.safetensors"),
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        for wanted in FAMILIES:
            target = (Path(sys.argv[1]) if len(sys.argv) > 1 else DATA) / wanted
            target.mkdir(parents=True, exist_ok=True)
            write(wanted, saved(wanted, Path(work)), target)
