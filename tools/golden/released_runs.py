"""Runs of the tiny SDXL model with NPNet's noise and CoRe2's rule, written out in Python.

    python tools/golden/released_runs.py [FOLDER]      (default: tests/data/families/sdxl)

The networks have random weights under the authors' keys and go through the exporter's --npnet and --core2.
FOLDER gets their components, released.json (the bundle's manifest with both) and released.safetensors: noise
and final latents.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import torch
from diffusers import DiffusionPipeline, StableDiffusionXLPipeline
from families import NEGATIVE, PROMPT
from safetensors.torch import load_file, save_file
from tiny_pipelines import DATA, saved
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1] / "export"))
from glint_export.released import core2, npnet, swin  # noqa: E402
from glint_export.released.checkpoints import with_component  # noqa: E402
from glint_export.released_parts import core2_entry, npnet_entry  # noqa: E402

# The tiny SDXL pipeline's prompts are 77 tokens of width 64, its pooled vectors 32 wide.
CORE2 = core2.Core2Config(
    channels=4, width=64, heads=1, hidden=128, blocks=2, tokens=77, token_width=64, pooled=64,
    pool_projection=True, null_first=True, banks=3, rank=2, reader=8,
)  # fmt: skip
NPNET = npnet.NpnetConfig(
    side=8, tokens=77, token_width=64, hidden=8, value_hidden=16,
    swin=swin.SwinConfig(image=16, window=2, width=8, depths=(2, 2), heads=(1, 2)),
)  # fmt: skip
STEPS, SCALE, GAP_SCALE, SLOW_STEPS, SIDE = 6, 5.0, 1.5, 2, 16


def drawn(network: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    for name, parameter in network.eval().requires_grad_(False).named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        size = 1 if parameter.dim() < 2 else parameter[0].numel() ** 0.5
        parameter.copy_(1 + 0.1 * noise if "norm" in name and name.endswith("weight") else noise / size)
    return network


def core2_state() -> dict[str, Tensor]:
    return drawn(core2.Core2Network(CORE2)).state_dict()


def npnet_state(text: str = "embeeding") -> dict[str, object]:
    """As the released trainer saves it, with what timm's model has besides."""
    network = drawn(npnet.Npnet(NPNET))
    branch = network.unet_embedding.state_dict()
    branch |= {
        "swin.head.fc.weight": torch.zeros(5, 16),
        "swin.layers.0.blocks.1.attn_mask": torch.zeros(4, 4),
    }
    return {
        "unet_svd": network.unet_svd.state_dict(), "unet_embedding": branch,
        text: network.embedding.state_dict(), "alpha": network.alpha.data, "beta": network.beta.data,
    }  # fmt: skip


def entries(pipe: DiffusionPipeline, work: Path, folder: Path) -> dict[str, object]:
    """Both components, written into `folder` as an export with --npnet and --core2 does."""
    torch.save(npnet_state(), work / "npnet.pth")
    torch.save(core2_state(), work / "core2.pth")
    return {
        "npnet": npnet_entry(work / "npnet.pth", pipe, "sdxl", folder),
        "core2_weak": core2_entry(work / "core2.pth", pipe, "sdxl", folder),
    }


class Runs:
    """Euler's loop over the tiny UNet."""

    def __init__(self, pipe: StableDiffusionXLPipeline, folder: Path) -> None:
        self.pipe = pipe
        self.tokens, self.null_tokens, self.pooled, self.null_pooled = pipe.encode_prompt(
            PROMPT, negative_prompt=NEGATIVE
        )
        self.golden = with_component(npnet.Npnet(NPNET).eval(), load_file(folder / "npnet.safetensors"))
        self.weak = with_component(
            core2.Core2Network(CORE2).eval(), load_file(folder / "core2_weak.safetensors")
        )

    def rows(self, value: Tensor, x: Tensor) -> Tensor:
        return value.expand(len(x), *value.shape[1:])

    def predicted(self, x: Tensor, time: Tensor, tokens: Tensor, pooled: Tensor) -> Tensor:
        ids = torch.tensor([[SIDE, SIDE, 0, 0, SIDE, SIDE]], dtype=torch.float32)
        added = {"text_embeds": self.rows(pooled, x), "time_ids": self.rows(ids, x)}
        return self.pipe.unet(x, time, self.rows(tokens, x), added_cond_kwargs=added).sample

    def guided(self, x: Tensor, time: Tensor, step: int, with_core2: bool) -> Tensor:
        conditional = self.predicted(x, time, self.tokens, self.pooled)
        if not with_core2:
            null = self.predicted(x, time, self.null_tokens, self.null_pooled)
            return null + SCALE * (conditional - null)
        text = [self.rows(t, x) for t in (self.tokens, self.pooled, self.null_tokens, self.null_pooled)]
        weak = self.weak(conditional, step / STEPS, *text)
        if step >= SLOW_STEPS:
            return weak
        null = self.predicted(x, time, self.null_tokens, self.null_pooled)
        strong = null + SCALE * (conditional - null)
        return weak + GAP_SCALE * (strong - weak)

    def run(self, noise: Tensor, with_npnet: bool, with_core2: bool) -> Tensor:
        scheduler = self.pipe.scheduler
        scheduler.set_timesteps(STEPS)
        x = self.golden(noise, self.rows(self.tokens, noise)) if with_npnet else noise
        x = x * scheduler.init_noise_sigma
        for i, time in enumerate(scheduler.timesteps):
            output = self.guided(scheduler.scale_model_input(x, time), time, i, with_core2)
            x = scheduler.step(output, time, x).prev_sample
        return x


@torch.no_grad()
def runs(source: Path, folder: Path) -> dict[str, Tensor]:
    noise = torch.randn(2, 4, SIDE // 2, SIDE // 2, generator=torch.Generator().manual_seed(12))
    model = Runs(DiffusionPipeline.from_pretrained(str(source)), folder)
    return {
        "noise": noise,
        "plain": model.run(noise, False, False),
        "golden-noise": model.run(noise, True, False),
        "core2": model.run(noise, False, True),
        "both": model.run(noise, True, True),
    }


def write(source: Path, work: Path, folder: Path) -> None:
    manifest = json.loads((folder / "model.json").read_text())
    manifest["components"] |= entries(DiffusionPipeline.from_pretrained(str(source)), work, folder)
    (folder / "released.json").write_text(json.dumps(manifest, indent=2) + "\n")
    tensors = {name: value.contiguous() for name, value in runs(source, folder).items()}
    save_file(tensors, folder / "released.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA / "sdxl"
        write(saved("sdxl", Path(scratch)), Path(scratch), target)
