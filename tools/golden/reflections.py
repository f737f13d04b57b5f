"""Z-Sampling, W2SD and RF-Sampling written out with diffusers' schedulers on the tiny SDXL and FLUX models.

    python tools/golden/reflections.py [FOLDER]      (default: tests/data/families)

"matched" inverts each step with its own coefficients and shortens reflections at the end of the grid, as this library
does; "legacy" is what the authors' released code does. reflections.json has the cases, reflections.safetensors noise
and final latents of each, and what the prompts become: FAMILY.tokens, FAMILY.null_tokens, FAMILY.pooled, ... (of the negative
prompt for sdxl, of the empty one for flux, whose negative prompt is there too).
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from adapters import files, loaded
from diffusers import DDIMInverseScheduler, DDIMScheduler, DiffusionPipeline, FluxPipeline
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from families import NEGATIVE, PROMPT
from safetensors.torch import save_file
from tiny_pipelines import DATA, saved
from torch import Tensor

STEPS = 8
Predict = Callable[[Tensor, float], Tensor]  # latents, timestep -> guided prediction


class SdxlRun:
    """Guided predictions of the tiny SDXL model, and DDIM's step both ways."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.pipe = DiffusionPipeline.from_pretrained(str(source))
        tensors = self.pipe.encode_prompt(PROMPT, negative_prompt=NEGATIVE)
        self.tokens, self.null_tokens, self.pooled, self.null_pooled = tensors
        loaded(self.pipe, folder)
        self.pipe.disable_lora()
        config = dict(self.pipe.scheduler.config) | {"set_alpha_to_one": False, "clip_sample": False}
        self.forward = DDIMScheduler.from_config(config)
        self.inverse = DDIMInverseScheduler.from_config(config)
        for scheduler in (self.forward, self.inverse):
            scheduler.set_timesteps(STEPS)
        self.times = [int(t) for t in self.forward.timesteps]

    def conditioning(self) -> dict[str, Tensor]:
        return {
            "sdxl.tokens": self.tokens, "sdxl.pooled": self.pooled,
            "sdxl.null_tokens": self.null_tokens, "sdxl.null_pooled": self.null_pooled,
        }  # fmt: skip

    def predictor(self, guidance: float, adapter: float | None = None) -> Predict:
        ids = torch.tensor([[32.0, 24.0, 0.0, 0.0, 32.0, 24.0]])

        def predict(x: Tensor, time: float) -> Tensor:
            if adapter is None:
                self.pipe.disable_lora()
            else:
                self.pipe.enable_lora()
                self.pipe.set_adapters(["lora-kohya"], [adapter])
            tokens = torch.cat((self.null_tokens, self.tokens))
            added = {"text_embeds": torch.cat((self.null_pooled, self.pooled)), "time_ids": ids.repeat(2, 1)}
            null, conditional = self.pipe.unet(torch.cat((x, x)), time, tokens, added_cond_kwargs=added).sample.chunk(2)
            return null + guidance * (conditional - null)

        return predict

    def denoise(self, predict: Predict, x: Tensor, i: int) -> Tensor:
        return self.forward.step(predict(x, self.times[i]), self.times[i], x).prev_sample

    def invert(self, predict: Predict, y: Tensor, i: int, legacy: bool) -> Tensor:
        """From level i + 1 to i. The scheduler's argument is the timestep to arrive at; legacy gives the next one."""
        arrival = self.times[i + 1] if legacy else self.times[i]
        return self.inverse.step(predict(y, self.times[i]), arrival, y).prev_sample

    def run(self, x: Tensor, strong: Predict, weak: Predict, final: Predict, legacy: bool, repeats: int = 1) -> Tensor:
        for i in range(STEPS):
            for _ in range(repeats if i < STEPS - 1 else 0):
                x = self.invert(weak, self.denoise(strong, x, i), i, legacy)
            x = self.denoise(final, x, i)
        return x


class FluxRun:
    """Velocities of the tiny FLUX model at given token embeddings, on packed latents."""

    def __init__(self, source: Path) -> None:
        self.pipe = DiffusionPipeline.from_pretrained(str(source))
        encode = lambda text: self.pipe.encode_prompt(text, max_sequence_length=512)  # noqa: E731
        self.tokens, self.pooled, self.text_ids = encode(PROMPT)
        self.null, self.null_pooled, _ = encode("")
        self.negative, self.negative_pooled, _ = encode(NEGATIVE)
        self.places = FluxPipeline._prepare_latent_image_ids(1, 8, 6, "cpu", torch.float32)
        scheduler = self.pipe.scheduler
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / STEPS, STEPS), mu=calculate_shift(48, 256, 4096, 0.5, 1.15))
        self.sigmas, self.times = scheduler.sigmas, scheduler.timesteps

    def conditioning(self) -> dict[str, Tensor]:
        return {
            "flux.tokens": self.tokens, "flux.pooled": self.pooled,
            "flux.null_tokens": self.null, "flux.null_pooled": self.null_pooled,
            "flux.negative_tokens": self.negative, "flux.negative_pooled": self.negative_pooled,
        }  # fmt: skip

    def velocity(self, x: Tensor, i: int, tokens: Tensor, pooled: Tensor | None = None) -> Tensor:
        return self.pipe.transformer(
            x, tokens, self.pooled if pooled is None else pooled, self.times[i].expand(1) / 1000, self.places,
            self.text_ids, torch.full((1,), 3.5),
        ).sample  # fmt: skip

    def mixed(self, scale: float, share: float, legacy: bool) -> Tensor:
        """c + s ((1 - r) c + r null); the released code's null is c itself."""
        null = self.tokens if legacy else self.null
        return self.tokens + scale * ((1 - share) * self.tokens + share * null)

    def rf(self, x: Tensor, high: float, low: float, span: int, merge: float, legacy: bool) -> Tensor:
        rich, poor = self.mixed(high, 0.3, legacy), self.mixed(low, 0.7, legacy)
        for i in range(STEPS):
            y = x
            if legacy:
                for k in range(span):
                    j = min(i + k, STEPS - 1)
                    y = y + (self.sigmas[j + 1] - self.sigmas[j]) * self.velocity(y, j, rich)
                for k in range(span):
                    j = min(i + span - 1 - k, STEPS - 1)
                    y = y + (self.sigmas[max(j - 1, 0)] - self.sigmas[j]) * self.velocity(y, j, poor)
                x = y if merge == 0 else x + merge * (y - x)
            else:
                end = min(i + span, STEPS - 1)
                for j in range(i, end):
                    y = y + (self.sigmas[j + 1] - self.sigmas[j]) * self.velocity(y, j, rich)
                for j in reversed(range(i, end)):
                    y = y + (self.sigmas[j] - self.sigmas[j + 1]) * self.velocity(y, j, poor)
                x = x + merge * (y - x)
            x = x + (self.sigmas[i + 1] - self.sigmas[i]) * self.velocity(x, i, self.tokens)
        return x

    def guided(self, x: Tensor, i: int, scale: float) -> Tensor:
        null = self.velocity(x, i, self.negative, self.negative_pooled)
        return null + scale * (self.velocity(x, i, self.tokens) - null)

    def z(self, x: Tensor, forward: float, inverse: float) -> Tensor:
        for i in range(STEPS):
            step = self.sigmas[i + 1] - self.sigmas[i]
            if i < STEPS - 1:
                y = x + step * self.guided(x, i, forward)
                x = y - step * self.guided(y, i, inverse)
            x = x + step * self.guided(x, i, forward)
        return x


@torch.no_grad()
def cases(sources: dict[str, Path], adapters: Path) -> tuple[dict[str, Tensor], list[dict[str, object]]]:
    tensors, told = {}, []
    generator = torch.Generator().manual_seed(9)
    noise = {
        "sdxl": torch.randn(1, 4, 16, 12, generator=generator),
        "flux": torch.randn(1, 16, 16, 12, generator=generator),
    }
    sdxl, flux = SdxlRun(sources["sdxl"], adapters), FluxRun(sources["flux"])

    def add(name: str, family: str, latents: Tensor, **options: object) -> None:
        told.append({"name": name, "family": family, "steps": STEPS, "prompt": PROMPT, "negative": NEGATIVE, **options})
        tensors[f"{name}.latents"] = latents if family == "sdxl" else FluxPipeline._unpack_latents(latents, 32, 24, 2)
        tensors[f"{family}.noise"] = noise[family]

    for mode in ("matched", "legacy"):
        z = {"guidance_forward": 5.5, "guidance_inverse": 0.0, "guidance": 5.5}
        strong, weak = sdxl.predictor(5.5), sdxl.predictor(0.0)
        for repeats in (1, 2):
            latents = sdxl.run(noise["sdxl"], strong, weak, strong, mode == "legacy", repeats)
            add(f"z-{mode}-{repeats}", "sdxl", latents, strategy="z-sampling", mode=mode, repeats=repeats, **z)
        legs = sdxl.predictor(5.5, 1.5), sdxl.predictor(1.0, -1.5), sdxl.predictor(5.5, 0.8)
        add(
            f"w2sd-{mode}", "sdxl", sdxl.run(noise["sdxl"], *legs, mode == "legacy"), strategy="w2sd", mode=mode,
            adapter="lora-kohya", strong_adapter=1.5, weak_adapter=-1.5, final_adapter=0.8,
            strong_guidance=5.5, weak_guidance=1.0, guidance=5.5,
        )  # fmt: skip
    start = FluxPipeline._pack_latents(noise["flux"], 1, 16, 16, 12)
    for mode, high, low, span, merge in (
        ("matched", 3.5, 0.0, 1, 0.5), ("matched", 1.5, -0.5, 2, 0.5), ("matched", 3.5, 0.0, 1, 1.0),
        ("legacy", 3.5, 0.0, 1, 0.5), ("legacy", 3.5, 0.0, 2, 0.0),
    ):  # fmt: skip
        latents = flux.rf(start, high, low, span, merge, mode == "legacy")
        add(
            f"rf-{mode}-{span}-{merge:g}-{high:g}", "flux", latents, strategy="rf-sampling", mode=mode,
            forward_scale=high, inverse_scale=low, forward_null_mix=0.3, inverse_null_mix=0.7, span=span, merge=merge,
            guidance=3.5,
        )  # fmt: skip
    add("z-flux-true-cfg", "flux", flux.z(start, 2.5, 0.0), strategy="z-sampling", mode="matched",
        guidance_forward=2.5, guidance_inverse=0.0, true_guidance=2.5, guidance=3.5, repeats=1)  # fmt: skip
    tensors |= sdxl.conditioning() | flux.conditioning()
    return {name: value.contiguous() for name, value in tensors.items()}, told


def write(work: Path, folder: Path) -> None:
    sources = {family: saved(family, work) for family in ("sdxl", "flux")}
    for name, file in files(DiffusionPipeline.from_pretrained(str(sources["sdxl"]))).items():
        file.save(work / f"{name}.safetensors")
    tensors, told = cases(sources, work)
    save_file(tensors, str(folder / "reflections.safetensors"))
    (folder / "reflections.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        write(Path(scratch), Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
