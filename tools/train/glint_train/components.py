"""Components of a bundle: traced in float32, stored in float16, compared with the module they come from."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from .archive import save_stripped, sha256
from .autoencoder import LATENT_CHANNELS, LATENT_SIDE, Autoencoder
from .text import WIDTH
from .words import MAX_TOKENS


class EncodeImage(nn.Module):
    """Image [B, 3, 64, 64] in [-1, 1] to standardised latents [B, 4, 16, 16]."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.encoder, self.standardise = model.encoder, model.standardise

    def forward(self, image: Tensor) -> Tensor:
        return self.standardise(self.encoder(image))


class DecodeLatents(nn.Module):
    """Standardised latents [B, 4, 16, 16] to image [B, 3, 64, 64] in [-1, 1]."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.decoder = model.decoder

    def forward(self, latents: Tensor) -> Tensor:
        return self.decoder(latents).clamp(-1.0, 1.0)


def example(name: str, batch: int, words: int) -> Tensor:
    """A random value of a component's input."""
    values = {
        "latents": lambda: torch.randn(batch, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE),
        "output": lambda: torch.randn(batch, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE),
        "time": lambda: torch.rand(batch),
        "sigma": lambda: torch.rand(batch),
        "tokens": lambda: torch.randn(batch, MAX_TOKENS, WIDTH),
        "pooled": lambda: torch.zeros(batch, WIDTH),
        "guidance": lambda: 1.0 + 5.0 * torch.rand(batch),
        "ids": lambda: torch.randint(0, words, (batch, MAX_TOKENS)),
        "image": lambda: torch.rand(batch, 3, 64, 64) * 2 - 1,
    }
    return values[name]()


def export_component(
    module: nn.Module, path: Path, inputs: list[str], words: int, denoiser: dict[str, str] | None = None
) -> dict[str, object]:
    """Writes a component's file and returns its manifest entry, with further fields for a denoiser."""
    module.requires_grad_(False)
    traced = torch.jit.trace(module, tuple(example(name, 2, words) for name in inputs), check_trace=False)
    save_stripped(traced.half(), path)
    check_component(module.half().float(), path, inputs, words)
    return {
        "file": path.name,
        "backend": "torchscript",
        "sha256": sha256(path),
        "dtype": "float16",
        "compute": "float32",
        "inputs": inputs,
        **(denoiser if denoiser and "time" in inputs else {}),
    }


@torch.no_grad()
def check_component(module: nn.Module, path: Path, names: list[str], words: int) -> None:
    """The stored file, in float32, equals the module (its weights rounded by now) at any batch size."""
    if b"debug_pkl" in path.read_bytes():
        raise RuntimeError(f"{path.name} holds debug files")
    loaded = torch.jit.load(str(path)).float()
    for batch in (1, 2, 3, 8):
        inputs = [example(name, batch, words) for name in names]
        ours, theirs = (
            made if isinstance(made, tuple) else (made,) for made in (module(*inputs), loaded(*inputs))
        )
        for a, b in zip(ours, theirs):
            if a.shape != b.shape or b.dtype != torch.float32:
                raise RuntimeError(
                    f"{path.name} gives {b.dtype} {list(b.shape)} at batch {batch}, "
                    f"not float32 {list(a.shape)}"
                )
            if not torch.allclose(a, b, atol=1e-4, rtol=1e-4):
                raise RuntimeError(
                    f"{path.name} differs at batch {batch} by {float((a - b).abs().max()):.2e}"
                )
