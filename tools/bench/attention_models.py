"""Writes networks of FLUX's and Wan's shape with random weights, to measure attention with.

    attention_models.py FOLDER [--tiny] [KIND...]        KIND: flux, wan, wan-editing

Width, head size and blocks are the real ones (FLUX.1: 3072, 24 heads; Wan 2.1 1.3B: 1536, 12 heads); there
are few blocks. Files are TorchScript, called as docs/exporting.md says: `token_order` permutes image tokens
and their position ids on the way in and is undone on the way out. `wan-editing` has one more input,
`context`: the latents of the video to edit, whose tokens follow those of the new video. Both get a rotary
table that begins at position 0.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

import torch
from diffusers import FluxTransformer2DModel, WanTransformer3DModel
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
from modules import without_debug_records  # noqa: E402

PATCH = 2  # latent pixels per token, each side


class Flux(nn.Module):
    def __init__(self, tiny: bool):
        super().__init__()
        heads, size, axes = (2, 16, (4, 6, 6)) if tiny else (24, 128, (16, 56, 56))
        # Of the example: count, features, pooled features.
        self.tokens = (7, 48, 24) if tiny else (64, 4096, 768)
        self.transformer = FluxTransformer2DModel(
            num_layers=1, num_single_layers=1, num_attention_heads=heads, attention_head_dim=size,
            joint_attention_dim=self.tokens[1], pooled_projection_dim=self.tokens[2], axes_dims_rope=axes,
            guidance_embeds=True, in_channels=64,
        )  # fmt: skip

    def example(self):
        count, features, pooled = self.tokens
        text = (torch.randn(1, count, features), torch.randn(1, pooled))
        return (
            torch.randn(1, 16, 16, 24),
            torch.full((1,), 500.0),
            *text,
            torch.full((1,), 3.5),
            torch.arange(96),
        )

    def forward(self, latents, time, tokens, pooled, guidance, token_order):
        batch, channels, height, width = latents.shape
        rows, columns = height // PATCH, width // PATCH
        packed = latents.reshape(batch, channels, rows, PATCH, columns, PATCH)
        packed = packed.permute(0, 2, 4, 1, 3, 5).reshape(batch, rows * columns, channels * PATCH * PATCH)
        y = torch.arange(rows).repeat_interleave(columns)
        x = torch.arange(columns).repeat(rows)
        ids = torch.stack([torch.zeros_like(x), y, x], 1).to(latents.dtype)
        out = self.transformer(
            hidden_states=packed[:, token_order], timestep=time / 1000, guidance=guidance,
            pooled_projections=pooled, encoder_hidden_states=tokens,
            txt_ids=torch.zeros_like(tokens[0, :, :3]), img_ids=ids[token_order], return_dict=False,
        )[0]  # fmt: skip
        out = out[:, torch.argsort(token_order)].reshape(batch, rows, columns, channels, PATCH, PATCH)
        return out.permute(0, 3, 1, 4, 2, 5).reshape(batch, channels, height, width)


class Wan(nn.Module):
    def __init__(self, tiny: bool, editing: bool = False):
        super().__init__()
        heads, size, ffn = (2, 16, 48) if tiny else (12, 128, 8960)
        self.features, self.editing = (48 if tiny else 4096), editing
        self.transformer = WanTransformer3DModel(
            num_attention_heads=heads,
            attention_head_dim=size,
            ffn_dim=ffn,
            text_dim=self.features,
            num_layers=2,
        )

    def example(self):
        video = torch.randn(1, 16, 2, 16, 24)
        inputs = video, torch.full((1,), 500.0), torch.randn(1, 16, self.features), torch.arange(192)
        return (*inputs, torch.randn_like(video)) if self.editing else inputs

    def forward(self, latents, time, tokens, token_order, context=None):
        net = self.transformer
        batch, channels, frames, height, width = latents.shape
        rows, columns = height // PATCH, width // PATCH
        videos = [latents] if context is None else [latents, context]
        x = torch.cat([net.patch_embedding(v).flatten(2).transpose(1, 2)[:, token_order] for v in videos], 1)
        # The same table for both: each video begins at position 0.
        rotary = tuple(torch.cat([table[:, token_order]] * len(videos), 1) for table in net.rope(latents))
        temb, projected, text, _ = net.condition_embedder(time, tokens, None)
        projected = projected.unflatten(1, (6, -1))
        for block in net.blocks:
            x = block(x, text, projected, rotary)
        shift, scale = (net.scale_shift_table + temb.unsqueeze(1)).chunk(2, 1)
        x = x[:, : frames * rows * columns]
        x = net.proj_out(net.norm_out(x.float()) * (1 + scale) + shift)[:, torch.argsort(token_order)]
        x = x.reshape(batch, frames, rows, columns, PATCH, PATCH, channels)
        return x.permute(0, 6, 1, 2, 4, 3, 5).reshape(batch, channels, frames, height, width)


KINDS = {"flux": Flux, "wan": Wan, "wan-editing": lambda tiny: Wan(tiny, editing=True)}


def write(kind: str, folder: Path, tiny: bool) -> Path:
    torch.manual_seed(0)
    network = KINDS[kind](tiny).eval().requires_grad_(False)
    for name, parameter in network.named_parameters():
        if "scale_shift_table" in name:
            parameter.mul_(0.1)  # as in a fresh Wan: drawn with deviation 1 / sqrt(width) there
    traced = torch.jit.trace(network, network.example(), check_trace=False)
    path = folder / f"{kind.replace('-', '_')}.pt"
    buffer = io.BytesIO()
    torch.jit.save(traced, buffer)
    path.write_bytes(without_debug_records(buffer.getvalue()) if tiny else buffer.getvalue())
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("kinds", nargs="*", metavar="KIND", default=list(KINDS))
    parser.add_argument("--tiny", action="store_true", help="a few thousand weights, for tests")
    arguments = parser.parse_intermixed_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for kind in arguments.kinds:
        path = write(kind, arguments.folder, arguments.tiny)
        print(f"{path.stat().st_size / 2**20:8.1f} MiB  {path}")


if __name__ == "__main__":
    main()
