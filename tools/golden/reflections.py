"""Z-Sampling, W2SD and RF-Sampling written out with diffusers' schedulers on the tiny models.

    python tools/golden/reflections.py [FOLDER]      (default: tests/data/families)

"matched" inverts each step with its own coefficients and shortens reflections at the end of the grid, as
this library does; "legacy" is what the authors' released code does, where there is any: SDXL's Z-Sampling
and W2SD, FLUX's RF-Sampling, SD3.5's Z-Sampling and RF-Sampling. reflections.json has the cases,
reflections.safetensors the noise and final latents of each, and what the prompts become: FAMILY.tokens,
FAMILY.null_tokens (of the empty prompt), FAMILY.negative_tokens, FAMILY.pooled, ...
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from adapters import FAMILIES, loaded
from diffusers import (
    DDIMInverseScheduler,
    DDIMScheduler,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    SchedulerMixin,
    UniPCMultistepScheduler,
)
from diffusers.pipelines.flux.pipeline_flux import calculate_shift
from families import NEGATIVE, PROMPT
from safetensors.torch import save_file
from tiny_pipelines import DATA, saved
from torch import Tensor

STEPS = 8
ADAPTERS = {"sdxl": "lora-kohya", "sd3": "lora-peft", "wan": "lora-published"}
Predict = Callable[[Tensor, Tensor], Tensor]  # latents, timestep -> guided prediction


class SdxlRun:
    """Guided predictions of the tiny SDXL model, and DDIM's step both ways."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.pipe = DiffusionPipeline.from_pretrained(str(source))
        tensors = self.pipe.encode_prompt(PROMPT, negative_prompt=NEGATIVE)
        self.tokens, self.null_tokens, self.pooled, self.null_pooled = tensors
        loaded(self.pipe, folder, ADAPTERS["sdxl"])
        config = dict(self.pipe.scheduler.config) | {"set_alpha_to_one": False, "clip_sample": False}
        self.forward = DDIMScheduler.from_config(config)
        self.inverse = DDIMInverseScheduler.from_config(config)
        for scheduler in (self.forward, self.inverse):
            scheduler.set_timesteps(STEPS)
        self.times = [int(t) for t in self.forward.timesteps]

    def conditioning(self) -> dict[str, Tensor]:
        return {
            "sdxl.tokens": self.tokens, "sdxl.pooled": self.pooled,
            "sdxl.negative_tokens": self.null_tokens, "sdxl.negative_pooled": self.null_pooled,
        }  # fmt: skip

    def predictor(self, guidance: float, adapter: float | None = None) -> Predict:
        ids = torch.tensor([[32.0, 24.0, 0.0, 0.0, 32.0, 24.0]])

        def predict(x: Tensor, time: float) -> Tensor:
            if adapter is None:
                self.pipe.disable_lora()
            else:
                self.pipe.enable_lora()
                self.pipe.set_adapters([ADAPTERS["sdxl"]], [adapter])
            tokens = torch.cat((self.null_tokens, self.tokens))
            added = {"text_embeds": torch.cat((self.null_pooled, self.pooled)), "time_ids": ids.repeat(2, 1)}
            output = self.pipe.unet(torch.cat((x, x)), time, tokens, added_cond_kwargs=added).sample
            null, conditional = output.chunk(2)
            return null + guidance * (conditional - null)

        return predict

    def denoise(self, predict: Predict, x: Tensor, i: int) -> Tensor:
        return self.forward.step(predict(x, self.times[i]), self.times[i], x).prev_sample

    def invert(self, predict: Predict, y: Tensor, i: int, legacy: bool) -> Tensor:
        """From level i + 1 to i. The scheduler takes the timestep to arrive at; legacy gives the next one."""
        arrival = self.times[i + 1] if legacy else self.times[i]
        return self.inverse.step(predict(y, self.times[i]), arrival, y).prev_sample

    def run(
        self, x: Tensor, strong: Predict, weak: Predict, final: Predict, legacy: bool, repeats: int = 1
    ) -> Tensor:
        for i in range(STEPS):
            for _ in range(repeats if i < STEPS - 1 else 0):
                x = self.invert(weak, self.denoise(strong, x, i), i, legacy)
            x = self.denoise(final, x, i)
        return x


class FlowRun:
    """Reflections along predictions of a flow model; each step is the solver's or a straight line."""

    def __init__(self, pipe: DiffusionPipeline, scheduler: SchedulerMixin, **grid: object) -> None:
        self.pipe, self.scheduler = pipe, scheduler
        scheduler.set_timesteps(**grid)
        self.sigmas, self.times = scheduler.sigmas, scheduler.timesteps

    def line(self, predict: Predict, x: Tensor, i: int) -> Tensor:
        """From level i to i + 1."""
        return x + (self.sigmas[i + 1] - self.sigmas[i]) * predict(x, self.times[i])

    def run(self, x: Tensor, strong: Predict, weak: Predict, final: Predict, earlier: float = 0.0) -> Tensor:
        """Inversions call the network with the timestep of the level they arrive at, less `earlier`."""
        multistep = isinstance(self.scheduler, UniPCMultistepScheduler)
        for i in range(STEPS):
            if i < STEPS - 1:
                y = self.line(strong, x, i)
                velocity = weak(y, (self.times[i] - earlier).clamp(min=0))
                x = y - (self.sigmas[i + 1] - self.sigmas[i]) * velocity
            if multistep:
                x = self.scheduler.step(final(x, self.times[i]), self.times[i], x).prev_sample
            else:
                x = self.line(final, x, i)
        return x

    def rf(
        self, x: Tensor, rich: Predict, poor: Predict, plain: Predict, span: int, merge: float, legacy: bool
    ) -> Tensor:
        for i in range(STEPS):
            y = x
            if legacy:
                for k in range(span):
                    y = self.line(rich, y, min(i + k, STEPS - 1))
                for k in range(span):
                    j = min(i + span - 1 - k, STEPS - 1)
                    y = y + (self.sigmas[max(j - 1, 0)] - self.sigmas[j]) * poor(y, self.times[j])
                x = y if merge == 0 else x + merge * (y - x)
            else:
                end = min(i + span, STEPS - 1)
                for j in range(i, end):
                    y = self.line(rich, y, j)
                for j in reversed(range(i, end)):
                    y = y + (self.sigmas[j] - self.sigmas[j + 1]) * poor(y, self.times[j])
                x = x + merge * (y - x)
            x = self.line(plain, x, i)
        return x


def mixed(tokens: Tensor, null: Tensor, scale: float, share: float) -> Tensor:
    """c + s ((1 - r) c + r null)"""
    return tokens + scale * ((1 - share) * tokens + share * null)


class FluxRun(FlowRun):
    """Velocities of the tiny FLUX model at given token embeddings, on packed latents."""

    def __init__(self, source: Path) -> None:
        pipe = DiffusionPipeline.from_pretrained(str(source))
        grid = {"sigmas": np.linspace(1.0, 1 / STEPS, STEPS), "mu": calculate_shift(48, 256, 4096, 0.5, 1.15)}
        super().__init__(pipe, pipe.scheduler, **grid)
        encode = lambda text: pipe.encode_prompt(text, max_sequence_length=512)  # noqa: E731
        self.tokens, self.pooled, self.text_ids = encode(PROMPT)
        self.null, self.null_pooled, _ = encode("")
        self.negative, self.negative_pooled, _ = encode(NEGATIVE)
        self.places = FluxPipeline._prepare_latent_image_ids(1, 8, 6, "cpu", torch.float32)

    def conditioning(self) -> dict[str, Tensor]:
        return {
            "flux.tokens": self.tokens, "flux.pooled": self.pooled,
            "flux.null_tokens": self.null, "flux.null_pooled": self.null_pooled,
            "flux.negative_tokens": self.negative, "flux.negative_pooled": self.negative_pooled,
        }  # fmt: skip

    def velocity(self, tokens: Tensor, pooled: Tensor | None = None) -> Predict:
        return lambda x, time: self.pipe.transformer(
            x, tokens, self.pooled if pooled is None else pooled, time.expand(1) / 1000, self.places,
            self.text_ids, torch.full((1,), 3.5),
        ).sample  # fmt: skip

    def mixed(self, scale: float, share: float, legacy: bool) -> Predict:
        """The released code's null is the prompt itself."""
        return self.velocity(mixed(self.tokens, self.tokens if legacy else self.null, scale, share))

    def guided(self, scale: float) -> Predict:
        null, conditional = self.velocity(self.negative, self.negative_pooled), self.velocity(self.tokens)
        return lambda x, time: null(x, time) + scale * (conditional(x, time) - null(x, time))


@dataclass
class Text:
    """A prompt's embeddings; Wan has no pooled ones."""

    tokens: Tensor
    pooled: Tensor | None = None


class GuidedRun(FlowRun):
    """Guided velocities of the tiny SD3 and Wan models, both rows in one batch."""

    def __init__(self, family: str, source: Path, adapters: Path, solver: str = "flow-euler") -> None:
        pipe = DiffusionPipeline.from_pretrained(str(source))
        scheduler = pipe.scheduler
        if family == "wan" and solver == "flow-euler":
            scheduler = FlowMatchEulerDiscreteScheduler(shift=pipe.scheduler.config.flow_shift)
        elif solver == "unipc":
            # Step i starts its corrector at the latents given to step i - 1, which a reflection has left.
            reflected = list(range(STEPS - 2))
            scheduler = UniPCMultistepScheduler.from_config(
                pipe.scheduler.config, disable_corrector=reflected
            )
        super().__init__(pipe, scheduler, num_inference_steps=STEPS)
        self.family = family
        self.text, self.null, self.negative = (self.encoded(prompt) for prompt in (PROMPT, "", NEGATIVE))
        self.adapter = ADAPTERS[family]
        loaded(pipe, adapters, self.adapter)

    def encoded(self, prompt: str) -> Text:
        """Fewer tokens than the pipelines' own, to keep the file small."""
        if self.family == "wan":
            return Text(
                self.pipe.encode_prompt(prompt, do_classifier_free_guidance=False, max_sequence_length=24)[0]
            )
        tokens, _, pooled, _ = self.pipe.encode_prompt(
            prompt, prompt, prompt, do_classifier_free_guidance=False, max_sequence_length=24
        )
        return Text(tokens, pooled)

    def conditioning(self) -> dict[str, Tensor]:
        told = {}
        for prefix, text in (("", self.text), ("null_", self.null), ("negative_", self.negative)):
            told[f"{self.family}.{prefix}tokens"] = text.tokens
            if text.pooled is not None:
                told[f"{self.family}.{prefix}pooled"] = text.pooled
        return told

    def guided(self, scale: float, text: Text, null: Text, adapter: float | None = None) -> Predict:
        tokens = torch.cat((null.tokens, text.tokens))
        pooled = () if text.pooled is None else (torch.cat((null.pooled, text.pooled)),)

        def predict(x: Tensor, time: Tensor) -> Tensor:
            if adapter is None:
                self.pipe.disable_lora()
            else:
                self.pipe.enable_lora()
                self.pipe.set_adapters([self.adapter], [adapter])
            both, times = torch.cat((x, x)), time.expand(2)
            if self.family == "wan":
                output = self.pipe.transformer(both, times, tokens).sample
            else:
                output = self.pipe.transformer(both, tokens, *pooled, times).sample
            without, conditional = output.chunk(2)
            return without + scale * (conditional - without)

        return predict

    def z(self, x: Tensor, forward: float, inverse: float, earlier: float = 0.0) -> Tensor:
        strong, weak = (self.guided(scale, self.text, self.negative) for scale in (forward, inverse))
        return self.run(x, strong, weak, strong, earlier)

    def w2sd(self, x: Tensor, *legs: tuple[float, float]) -> Tensor:
        """Legs are guidance and adapter scales."""
        return self.run(
            x, *(self.guided(scale, self.text, self.negative, adapter) for scale, adapter in legs)
        )

    def mixed_rf(
        self, x: Tensor, guidance: float, high: float, low: float, span: int, merge: float, legacy: bool
    ) -> Tensor:
        """Only the released code mixes the null row, with the prompt in the place of the null embedding."""
        null = self.negative if legacy else self.null

        def leg(scale: float, share: float) -> Predict:
            tokens = mixed(self.text.tokens, self.text.tokens if legacy else null.tokens, scale, share)
            without = mixed(null.tokens, self.text.tokens, scale, share) if legacy else null.tokens
            return self.guided(guidance, Text(tokens, self.text.pooled), Text(without, null.pooled))

        return self.rf(
            x, leg(high, 0.3), leg(low, 0.7), self.guided(guidance, self.text, null), span, merge, legacy
        )


@torch.no_grad()
def cases(
    sources: dict[str, Path], adapters: dict[str, Path]
) -> tuple[dict[str, Tensor], list[dict[str, object]]]:
    tensors, told = {}, []
    generator = torch.Generator().manual_seed(9)
    shapes = {
        "sdxl": (4, 16, 12), "flux": (16, 16, 12), "sd3": (16, 8, 12), "wan": (16, 3, 8, 6),
        "wan-1": (16, 1, 8, 6),
    }  # fmt: skip
    noise = {name: torch.randn(1, *shape, generator=generator) for name, shape in shapes.items()}
    sdxl, flux = SdxlRun(sources["sdxl"], adapters["sdxl"]), FluxRun(sources["flux"])

    def add(name: str, family: str, latents: Tensor, start: str = "", **options: object) -> None:
        start = start or family
        told.append({"name": name, "family": family, "noise": start, "steps": STEPS, **options})
        tensors[f"{name}.latents"] = (
            FluxPipeline._unpack_latents(latents, 32, 24, 2) if family == "flux" else latents
        )
        tensors[f"{start}.noise"] = noise[start]

    for mode in ("matched", "legacy"):
        z = {"guidance_forward": 5.5, "guidance_inverse": 0.0, "guidance": 5.5}
        strong, weak = sdxl.predictor(5.5), sdxl.predictor(0.0)
        for repeats in (1, 2):
            latents = sdxl.run(noise["sdxl"], strong, weak, strong, mode == "legacy", repeats)
            add(
                f"z-{mode}-{repeats}", "sdxl", latents, strategy="z-sampling", mode=mode, repeats=repeats, **z
            )
        legs = sdxl.predictor(5.5, 1.5), sdxl.predictor(1.0, -1.5), sdxl.predictor(5.5, 0.8)
        add(
            f"w2sd-{mode}", "sdxl", sdxl.run(noise["sdxl"], *legs, mode == "legacy"), strategy="w2sd",
            mode=mode, adapter=ADAPTERS["sdxl"], strong_adapter=1.5, weak_adapter=-1.5, final_adapter=0.8,
            strong_guidance=5.5, weak_guidance=1.0, guidance=5.5,
        )  # fmt: skip
    start = FluxPipeline._pack_latents(noise["flux"], 1, 16, 16, 12)
    for mode, high, low, span, merge in (
        ("matched", 3.5, 0.0, 1, 0.5), ("matched", 1.5, -0.5, 2, 0.5), ("matched", 3.5, 0.0, 1, 1.0),
        ("legacy", 3.5, 0.0, 1, 0.5), ("legacy", 3.5, 0.0, 2, 0.0),
    ):  # fmt: skip
        legacy = mode == "legacy"
        legs = flux.mixed(high, 0.3, legacy), flux.mixed(low, 0.7, legacy), flux.velocity(flux.tokens)
        add(
            f"rf-{mode}-{span}-{merge:g}-{high:g}", "flux", flux.rf(start, *legs, span, merge, legacy),
            strategy="rf-sampling", mode=mode, forward_scale=high, inverse_scale=low, forward_null_mix=0.3,
            inverse_null_mix=0.7, span=span, merge=merge, guidance=3.5,
        )  # fmt: skip
    strong, weak = flux.guided(2.5), flux.guided(0.0)
    add(
        "z-flux-true-cfg", "flux", flux.run(start, strong, weak, strong), strategy="z-sampling",
        mode="matched", guidance_forward=2.5, guidance_inverse=0.0, true_guidance=2.5, guidance=3.5,
        repeats=1,
    )  # fmt: skip
    tensors |= sdxl.conditioning() | flux.conditioning()
    for family, start in (("sd3", "sd3"), ("wan", "wan"), ("wan", "wan-1")):
        run = GuidedRun(family, sources[family], adapters[family])
        tensors |= run.conditioning()
        guided_cases(run, noise[start], start, add)
    run = GuidedRun("wan", sources["wan"], adapters["wan"], "unipc")
    add("z-wan-unipc-matched", "wan", run.z(noise["wan"], 5.0, 0.0), strategy="z-sampling", mode="matched",
        guidance_forward=5.0, guidance_inverse=0.0, guidance=5.0, repeats=1, solver="unipc")  # fmt: skip
    return {name: value.contiguous() for name, value in tensors.items()}, told


def guided_cases(run: GuidedRun, noise: Tensor, start: str, add: Callable[..., None]) -> None:
    """Cases of a family with classifier-free guidance and flow noise; "legacy" is SD3.5's released code."""
    guidance = 4.5 if run.family == "sd3" else 5.0
    for mode in ("matched", "legacy") if run.family == "sd3" else ("matched",):
        # CoRe's zigzag labels the inversion with 1000 // steps less than the level it arrives at.
        latents = run.z(noise, guidance, 0.5, 1000 // STEPS if mode == "legacy" else 0.0)
        add(
            f"z-{start}-{mode}", run.family, latents, start, strategy="z-sampling", mode=mode, repeats=1,
            guidance_forward=guidance, guidance_inverse=0.5, guidance=guidance,
        )  # fmt: skip
        spans = [(1, 0.5)]
        if start == "sd3":
            spans.append((2, 0.0) if mode == "legacy" else (2, 0.5))
        for span, merge in spans:
            latents = run.mixed_rf(noise, guidance, 9.0, -1.0, span, merge, mode == "legacy")
            add(
                f"rf-{start}-{mode}-{span}-{merge:g}", run.family, latents, start, strategy="rf-sampling",
                mode=mode, forward_scale=9.0, inverse_scale=-1.0, forward_null_mix=0.3, inverse_null_mix=0.7,
                span=span, merge=merge, guidance=guidance,
            )  # fmt: skip
    add(
        f"w2sd-{start}-matched", run.family, run.w2sd(noise, (guidance, 1.5), (1.0, -1.5), (guidance, 0.8)),
        start, strategy="w2sd", mode="matched", adapter=run.adapter, strong_adapter=1.5, weak_adapter=-1.5,
        final_adapter=0.8, strong_guidance=guidance, weak_guidance=1.0, guidance=guidance,
    )  # fmt: skip


def write(work: Path, folder: Path) -> None:
    sources = {family: saved(family, work) for family in ("sdxl", "flux", "sd3", "wan")}
    for family, name in ADAPTERS.items():
        (work / "adapters" / family).mkdir(parents=True)
        made = FAMILIES[family].files(DiffusionPipeline.from_pretrained(str(sources[family])))
        made[name].save(work / "adapters" / family / f"{name}.safetensors")
    tensors, told = cases(sources, {family: work / "adapters" / family for family in ADAPTERS})
    save_file(tensors, str(folder / "reflections.safetensors"))
    (folder / "reflections.json").write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        write(Path(scratch), Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
