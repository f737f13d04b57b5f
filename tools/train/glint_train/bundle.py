"""Running a bundle from its files alone, as the library does."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .archive import sha256
from .words import WordTokenizer


class Bundle:
    """The components of a bundle folder, widened to float32."""

    def __init__(self, folder: Path) -> None:
        self.manifest = json.loads((folder / "model.json").read_text())
        for entry in self.manifest["components"].values():
            if sha256(folder / entry["file"]) != entry["sha256"]:
                raise RuntimeError(f"{entry['file']} does not match its SHA-256")
        self.tokenizer = WordTokenizer(json.loads((folder / "tokenizer.json").read_text())["words"])
        self.folder = folder
        names = ("denoiser", "text_encoder", "vae_decoder", "vae_encoder")
        self.denoiser, self.text_encoder, self.decoder, self.encoder = (self.component(name) for name in names)

    def component(self, name: str) -> torch.jit.ScriptModule:
        """A TorchScript component in float32."""
        return torch.jit.load(str(self.folder / self.manifest["components"][name]["file"])).float().eval()

    def encode_text(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """Token embeddings [B, 16, 192] and pooled vectors [B, 192]."""
        return self.text_encoder(torch.from_numpy(np.stack([self.tokenizer.encode(prompt) for prompt in prompts])))

    @torch.no_grad()
    def latents(self, prompts: list[str], guidance: float, steps: int, seed: int) -> Tensor:
        """Latents [B, 4, 16, 16] by Euler steps of the flow with classifier-free guidance."""
        count = len(prompts)
        noises = [torch.randn(4, 16, 16, generator=torch.Generator().manual_seed(seed + i)) for i in range(count)]
        x = torch.stack(noises)
        guided = guidance != 1.0
        tokens, pooled = self.encode_text(prompts + [""] * count if guided else prompts)
        times = torch.linspace(1.0, 0.0, steps + 1)
        for now, then in zip(times[:-1], times[1:]):
            batch = torch.cat([x, x]) if guided else x
            velocity = self.denoiser(batch, now.expand(len(batch)), tokens, pooled)
            if guided:
                conditional, null = velocity.chunk(2)
                velocity = null + guidance * (conditional - null)
            x = x + (then - now) * velocity
        return x

    @torch.no_grad()
    def generate(
        self, prompts: list[str], guidance: float, steps: int = 20, seed: int = 0, batch: int = 8
    ) -> np.ndarray:
        """Images uint8 [B, 64, 64, 3]; picture i uses the seed `seed + i`."""
        parts = []
        for start in range(0, len(prompts), batch):
            latents = self.latents(prompts[start : start + batch], guidance, steps, seed + start)
            images = self.decoder(latents).add(1.0).mul(127.5).round().clamp(0, 255)
            parts.append(images.to(torch.uint8).permute(0, 2, 3, 1).numpy())
        return np.concatenate(parts)
