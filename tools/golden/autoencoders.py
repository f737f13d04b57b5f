"""Pictures and videos encoded and decoded by diffusers' autoencoders on the tiny models, whole and in tiles.

    python tools/golden/autoencoders.py [FOLDER]      (default: tests/data/families)

Writes FOLDER/<family>/autoencoder.safetensors: latents in the denoiser's space, pixels in [-1,1] and, for
every case, what diffusers makes of them with enable_tiling. Names: <case>.latents, .decoded, .decoded_tiled,
.pixels, .encoded, .encoded_tiled. The sizes exercise borders: short last tiles, tiles of one row, one column
of tiles.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderKLWan
from safetensors.torch import save_file
from tiny_pipelines import DATA, PIPELINES
from torch import Tensor

# Latent sizes of the cases (frames, height, width), and the side of their tiles in latent pixels.
CASES = {
    "sdxl": {"both": (1, 20, 37, 16), "wide": (1, 14, 40, 16), "fits": (1, 16, 15, 16)},
    "flux": {"both": (1, 26, 19, 8)},
    "wan": {"both": (3, 6, 9, 4), "one_frame": (1, 9, 4, 4), "fits": (2, 4, 3, 4)},
}


def statistics(vae: AutoencoderKLWan) -> tuple[Tensor, Tensor]:
    mean, deviation = torch.tensor(vae.config.latents_mean), torch.tensor(vae.config.latents_std)
    return mean.view(1, -1, 1, 1, 1), deviation.view(1, -1, 1, 1, 1)


def to_latents(vae: AutoencoderKL | AutoencoderKLWan, z: Tensor) -> Tensor:
    if isinstance(vae, AutoencoderKLWan):
        mean, deviation = statistics(vae)
        return (z - mean) / deviation
    return (z - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor


def from_latents(vae: AutoencoderKL | AutoencoderKLWan, latents: Tensor) -> Tensor:
    if isinstance(vae, AutoencoderKLWan):
        mean, deviation = statistics(vae)
        return latents * deviation + mean
    return latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)


def set_tiles(vae: AutoencoderKL | AutoencoderKLWan, side: int, scale: int) -> None:
    """Tiles of `side` latent pixels that overlap by a quarter."""
    if isinstance(vae, AutoencoderKLWan):
        vae.enable_tiling(side * scale, side * scale, side * scale * 3 // 4, side * scale * 3 // 4)
    else:
        vae.enable_tiling()
        vae.tile_latent_min_size, vae.tile_sample_min_size = side, side * scale


@torch.no_grad()
def golden(family: str) -> dict[str, Tensor]:
    vae = PIPELINES[family]().vae
    video = isinstance(vae, AutoencoderKLWan)
    scale = vae.config.scale_factor_spatial if video else 2 ** (len(vae.config.block_out_channels) - 1)
    channels = vae.config.z_dim if video else vae.config.latent_channels
    generator, tensors = torch.Generator().manual_seed(7), {}
    for name, (frames, height, width, side) in CASES[family].items():
        count, shown = ([frames], [4 * (frames - 1) + 1]) if video else ([], [])
        latents = torch.randn(1, channels, *count, height, width, generator=generator)
        pixels = torch.rand(1, 3, *shown, height * scale, width * scale, generator=generator) * 2 - 1
        tensors |= {f"{name}.latents": latents, f"{name}.pixels": pixels}
        for end in ("", "_tiled"):
            if end:
                set_tiles(vae, side, scale)
            tensors[f"{name}.decoded{end}"] = vae.decode(from_latents(vae, latents)).sample
            tensors[f"{name}.encoded{end}"] = to_latents(vae, vae.encode(pixels).latent_dist.mode())
        vae.disable_tiling()
    return {name: value.contiguous() for name, value in tensors.items()}


def main(folder: Path) -> None:
    for family in CASES:
        save_file(golden(family), str(folder / family / "autoencoder.safetensors"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
