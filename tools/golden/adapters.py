"""LoRA files for the tiny SDXL model in both common key forms, and what diffusers makes of them.

python tools/golden/adapters.py [FOLDER]      (default: tests/data/families/sdxl)
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch
from diffusers import DiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import save_file
from tiny_pipelines import DATA, saved
from torch import Tensor, nn

RANK, ALPHA = 4, 2.0


def factors(module: nn.Module, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Down and up factors of a Linear or Conv2d."""
    weight = module.weight
    down = torch.randn(RANK, *weight.shape[1:], generator=generator) / weight[0].numel() ** 0.5
    up = torch.randn(weight.shape[0], RANK, *([1] * (weight.dim() - 2)), generator=generator) * 0.3
    return down, up


def targets(unet: nn.Module) -> dict[str, nn.Module]:
    """Attention's linear layers and the residual blocks' convolutions."""
    ends = ("to_q", "to_k", "to_v", "to_out.0", "conv1")
    return {name: module for name, module in unet.named_modules() if name.endswith(ends) and hasattr(module, "weight")}


def files(pipe: StableDiffusionXLPipeline) -> dict[str, dict[str, Tensor]]:
    """One adapter as PEFT writes it (alpha is the rank), another as Kohya's scripts do (alpha of its own)."""
    generator = torch.Generator().manual_seed(7)
    peft, kohya = {}, {}
    for name, module in targets(pipe.unet).items():
        down, up = factors(module, generator)
        peft |= {f"unet.{name}.lora_A.weight": down, f"unet.{name}.lora_B.weight": up}
        down, up = factors(module, generator)
        flat = "lora_unet_" + name.replace(".", "_")
        kohya |= {f"{flat}.lora_down.weight": down, f"{flat}.lora_up.weight": up, f"{flat}.alpha": torch.tensor(ALPHA)}
    return {"lora-peft": peft, "lora-kohya": kohya}


def loaded(pipe: StableDiffusionXLPipeline, folder: Path) -> None:
    for name in ("lora-peft", "lora-kohya"):
        pipe.load_lora_weights(str(folder), weight_name=f"{name}.safetensors", adapter_name=name)


@torch.no_grad()
def outputs(source: Path, folder: Path) -> dict[str, Tensor]:
    """Predictions of the UNet with fused adapters at several scales."""
    generator = torch.Generator().manual_seed(8)
    inputs = {
        "latents": torch.randn(2, 4, 12, 16, generator=generator),
        "time": torch.tensor([700.0, 300.0]),
        "tokens": torch.randn(2, 9, 64, generator=generator),
        "pooled": torch.randn(2, 32, generator=generator),
        "time_ids": torch.tensor([[24.0, 32.0, 0.0, 0.0, 24.0, 32.0]]).repeat(2, 1),
    }
    results = dict(inputs)
    scales = {
        "peft*0.8": {"lora-peft": 0.8},
        "peft*-1.5": {"lora-peft": -1.5},
        "kohya*1.5": {"lora-kohya": 1.5},
        "peft*0.7+kohya*-0.4": {"lora-peft": 0.7, "lora-kohya": -0.4},
        "base": {},
    }
    for label, wanted in scales.items():
        pipe = DiffusionPipeline.from_pretrained(str(source))
        if wanted:
            loaded(pipe, folder)
            pipe.set_adapters(list(wanted), list(wanted.values()))
            pipe.fuse_lora(components=["unet"], adapter_names=list(wanted))
            pipe.unload_lora_weights()
        added = {"text_embeds": inputs["pooled"], "time_ids": inputs["time_ids"]}
        results[label] = pipe.unet(inputs["latents"], inputs["time"], inputs["tokens"], added_cond_kwargs=added).sample
    return results


def write(source: Path, folder: Path) -> None:
    pipe = DiffusionPipeline.from_pretrained(str(source))
    for name, tensors in files(pipe).items():
        save_file({key: value.contiguous() for key, value in tensors.items()}, str(folder / f"{name}.safetensors"))
    save_file(outputs(source, folder), str(folder / "lora.safetensors"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        write(saved("sdxl", Path(work)), Path(sys.argv[1]) if len(sys.argv) > 1 else DATA / "sdxl")
