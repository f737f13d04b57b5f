"""Writes a UNet of SDXL's kind with random weights, to measure convolutions with.

    PYTHONPATH=tools/export python tools/bench/unet.py FOLDER [--tiny]

864 M parameters: SDXL's conditioning on the channels (320, 640, 1280, 1280) of earlier UNets, which makes its
convolutions larger and its attention smaller than SDXL's own. FOLDER gets unet.pt, as glint_export writes it,
and unet.safetensors, inputs for it: 32 x 32 latents (256 x 256 pixels), batch 2, called by their position.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel
from glint_export.archives import write_torchscript
from glint_export.denoisers import SdxlDenoiser
from safetensors.torch import save_file


def network(tiny: bool = False) -> tuple[SdxlDenoiser, tuple[torch.Tensor, ...]]:
    """Returns the network, as glint_export traces it, and its inputs."""
    torch.manual_seed(1)
    channels, features = ((16, 32, 64, 64), 32) if tiny else ((320, 640, 1280, 1280), 768)
    unet = UNet2DConditionModel(
        block_out_channels=channels, cross_attention_dim=features, norm_num_groups=8 if tiny else 32,
        addition_embed_type="text_time", addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=6 * 256 + 1280,
    )  # fmt: skip
    inputs = (
        torch.randn(2, 4, 32, 32),
        torch.tensor([500.0, 500.0]),
        torch.randn(2, 77, features),
        torch.randn(2, 1280),
        torch.tensor([[256.0, 256.0, 0.0, 0.0, 256.0, 256.0]] * 2),
    )
    return SdxlDenoiser(unet.eval().requires_grad_(False)), inputs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tiny", action="store_true", help="the same network, 400 times smaller")
    options = parser.parse_args()
    torch.set_num_threads(1)
    denoiser, inputs = network(options.tiny)
    options.folder.mkdir(parents=True, exist_ok=True)
    write_torchscript(denoiser, inputs, options.folder / "unet.pt")
    save_file({str(i): x for i, x in enumerate(inputs)}, options.folder / "unet.safetensors")


if __name__ == "__main__":
    main()
