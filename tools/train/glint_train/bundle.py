"""Running a bundle from its files alone, as the library does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from .adapters import add_to
from .archive import sha256
from .run import require, to_pixels
from .unet import make_scheduler
from .words import WordTokenizer, read_words

WHAT_IS_A_BUNDLE = "a bundle is a folder such as models/emoji-flow, which tools/train/export.py writes"

Predict = Callable[[Tensor, Tensor], Tensor]  # latents [B, 4, 16, 16], time [] -> the guided prediction


def initial_noise(count: int, seed: int) -> Tensor:
    """Noise [count, 4, 16, 16]; item i depends on `seed + i` alone."""
    seeds = range(seed, seed + count)
    return torch.stack(
        [torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(one)) for one in seeds]
    )


def read_manifest(folder: Path) -> dict[str, Any]:
    """model.json of a bundle; a SystemExit if the folder has none."""
    return json.loads(require(folder / "model.json", WHAT_IS_A_BUNDLE).read_text())


class Bundle:
    """The components of a bundle folder, widened to float32."""

    def __init__(self, folder: Path, denoiser: str = "denoiser") -> None:
        self.manifest = read_manifest(folder)
        for entry in self.manifest["components"].values():
            if sha256(folder / entry["file"]) != entry["sha256"]:
                raise RuntimeError(f"{entry['file']} does not match its SHA-256")
        self.tokenizer = WordTokenizer(read_words(folder, WHAT_IS_A_BUNDLE))
        self.folder, self.inputs = folder, self.manifest["components"][denoiser]["inputs"]
        self.denoiser, self.text_encoder = self.component(denoiser), self.component("text_encoder")
        self.decoder = self.component("vae_decoder")

    def component(self, name: str) -> torch.jit.ScriptModule:
        """A TorchScript component in float32; a SystemExit if the bundle has none of this name."""
        if name not in self.manifest["components"]:
            raise SystemExit(f"the bundle {self.folder} has no component {name}")
        return torch.jit.load(str(self.folder / self.manifest["components"][name]["file"])).float().eval()

    def adapt(self, path: Path) -> None:
        """Adds a LoRA file to the denoiser's weights."""
        add_to(
            self.denoiser.state_dict(),
            load_file(require(path, "a LoRA file such as those of adapters.py is needed")),
        )

    def ids(self, prompts: list[str]) -> Tensor:
        """Word ids [B, 16]."""
        return torch.from_numpy(np.stack([self.tokenizer.encode(prompt) for prompt in prompts]))

    def encode_text(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """Token embeddings [B, 16, 192] and pooled vectors [B, 192]."""
        return self.text_encoder(self.ids(prompts))

    def predictor(self, prompts: list[str], guidance: float) -> Predict:
        """Predictions with the scale embedded if the network takes it, else classifier-free guidance."""
        embedded = "guidance" in self.inputs
        branches = 2 if guidance != 1.0 and not embedded else 1
        tokens, pooled = self.encode_text(prompts + [""] * len(prompts) if branches == 2 else prompts)
        fixed = {"tokens": tokens, "pooled": pooled, "guidance": torch.full((len(tokens),), guidance)}

        def predict(x: Tensor, time: Tensor) -> Tensor:
            values = fixed | {
                "latents": x.repeat(branches, 1, 1, 1),
                "time": time.float().expand(len(tokens)),
            }
            made = self.denoiser(*(values[name] for name in self.inputs))
            if branches == 1:
                return made
            conditional, null = made.chunk(2)
            return null + guidance * (conditional - null)

        return predict

    @torch.no_grad()
    def sample(self, noise: Tensor, predict: Predict, steps: int) -> Tensor:
        """Latents [B, 4, 16, 16] from noise, by Euler steps (flow) or DDIM steps (variance-preserving)."""
        x = noise
        if self.manifest["schedule"]["kind"] == "vp":
            scheduler = make_scheduler()
            scheduler.set_timesteps(steps)
            for time in scheduler.timesteps:
                x = scheduler.step(predict(x, time), time, x).prev_sample
            return x
        times = torch.linspace(1.0, 0.0, steps + 1)
        for now, then in zip(times[:-1], times[1:]):
            x = x + (then - now) * predict(x, now)
        return x

    @torch.no_grad()
    def latents(self, prompts: list[str], guidance: float, steps: int, seed: int) -> Tensor:
        """Latents [B, 4, 16, 16] of prompts; prompt i begins with the noise of the seed `seed + i`."""
        return self.sample(initial_noise(len(prompts), seed), self.predictor(prompts, guidance), steps)

    @torch.no_grad()
    def pictures(self, latents: Tensor) -> np.ndarray:
        """Latents [B, 4, 16, 16] as images uint8 [B, 64, 64, 3]."""
        return to_pixels(self.decoder(latents)).numpy()

    def generate(
        self, prompts: list[str], guidance: float, steps: int = 20, seed: int = 0, batch: int = 8
    ) -> np.ndarray:
        """Images uint8 [B, 64, 64, 3]; picture i uses the seed `seed + i`."""
        starts = range(0, len(prompts), batch)
        parts = (self.latents(prompts[i : i + batch], guidance, steps, seed + i) for i in starts)
        return np.concatenate([self.pictures(part) for part in parts])
