"""Denoisers behind one signature: latents in, raw prediction in the latents' shape out.

Attributes are called `unet` and `transformer` because weight names, in these files and in LoRA files, begin
with them.
"""

from __future__ import annotations

import torch
from diffusers import (
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    UNet2DConditionModel,
    WanTransformer3DModel,
)
from torch import Tensor, nn


class SdxlDenoiser(nn.Module):
    inputs = ("latents", "time", "tokens", "pooled", "time_ids")

    def __init__(self, unet: UNet2DConditionModel) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self, latents: Tensor, time: Tensor, tokens: Tensor, pooled: Tensor, time_ids: Tensor
    ) -> Tensor:
        added = {"text_embeds": pooled, "time_ids": time_ids}
        return self.unet(latents, time, tokens, added_cond_kwargs=added, return_dict=False)[0]


def restored(tokens: Tensor, order: Tensor) -> Tensor:
    """Puts row i of tokens [B, T, D] back to where order[i] took it from."""
    return tokens.index_select(1, torch.argsort(order))


class Sd3Denoiser(nn.Module):
    inputs = ("latents", "time", "tokens", "pooled", "token_order")

    def __init__(self, transformer: SD3Transformer2DModel) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(
        self, latents: Tensor, time: Tensor, tokens: Tensor, pooled: Tensor, token_order: Tensor
    ) -> Tensor:
        net, size = self.transformer, self.transformer.config.patch_size
        height, width = latents.shape[2] // size, latents.shape[3] // size
        hidden = net.pos_embed(latents).index_select(1, token_order)
        condition, text = net.time_text_embed(time, pooled), net.context_embedder(tokens)
        for block in net.transformer_blocks:
            text, hidden = block(hidden_states=hidden, encoder_hidden_states=text, temb=condition)
        patches = restored(net.proj_out(net.norm_out(hidden, condition)), token_order)
        patches = patches.reshape(latents.shape[0], height, width, size, size, net.out_channels)
        return patches.permute(0, 5, 1, 3, 2, 4).reshape(
            latents.shape[0], net.out_channels, height * size, width * size
        )


class FluxDenoiser(nn.Module):
    """Packs 2 x 2 latent pixels into a token, in the channel order of diffusers' pipeline."""

    inputs = ("latents", "time", "tokens", "pooled", "token_order")

    def __init__(self, transformer: FluxTransformer2DModel) -> None:
        super().__init__()
        self.transformer = transformer

    def predict(
        self,
        latents: Tensor,
        time: Tensor,
        tokens: Tensor,
        pooled: Tensor,
        guidance: Tensor | None,
        order: Tensor,
    ) -> Tensor:
        batch, channels = latents.shape[0], latents.shape[1]
        height, width = latents.shape[2] // 2, latents.shape[3] // 2
        packed = latents.reshape(batch, channels, height, 2, width, 2).permute(0, 2, 4, 1, 3, 5)
        packed = packed.reshape(batch, height * width, channels * 4).index_select(1, order)
        rows, columns = torch.meshgrid(
            torch.arange(height, device=latents.device),
            torch.arange(width, device=latents.device),
            indexing="ij",
        )
        places = torch.stack((torch.zeros_like(rows), rows, columns), dim=-1).reshape(height * width, 3)
        output = self.transformer(
            hidden_states=packed,
            # The scheduler's timesteps, divided as the pipeline does: the network multiplies them again.
            timestep=time.to(latents.dtype) / 1000,
            guidance=guidance,
            pooled_projections=pooled,
            encoder_hidden_states=tokens,
            txt_ids=torch.zeros_like(tokens[0, :, :3]),
            img_ids=places.index_select(0, order).to(latents.dtype),
            return_dict=False,
        )[0]
        output = (
            restored(output, order).reshape(batch, height, width, channels, 2, 2).permute(0, 3, 1, 4, 2, 5)
        )
        return output.reshape(batch, channels, height * 2, width * 2)

    def forward(
        self, latents: Tensor, time: Tensor, tokens: Tensor, pooled: Tensor, token_order: Tensor
    ) -> Tensor:
        return self.predict(latents, time, tokens, pooled, None, token_order)


class GuidedFluxDenoiser(FluxDenoiser):
    """Of a guidance-distilled transformer."""

    inputs = ("latents", "time", "tokens", "pooled", "guidance", "token_order")

    def forward(
        self,
        latents: Tensor,
        time: Tensor,
        tokens: Tensor,
        pooled: Tensor,
        guidance: Tensor,
        token_order: Tensor,
    ) -> Tensor:
        return self.predict(latents, time, tokens, pooled, guidance, token_order)


class WanDenoiser(nn.Module):
    inputs = ("latents", "time", "tokens", "token_order")

    def __init__(self, transformer: WanTransformer3DModel) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(self, latents: Tensor, time: Tensor, tokens: Tensor, token_order: Tensor) -> Tensor:
        net = self.transformer
        batch, frames = latents.shape[0], latents.shape[2]
        height, width = latents.shape[3] // 2, latents.shape[4] // 2
        rotary = tuple(part.index_select(1, token_order) for part in net.rope(latents))
        hidden = net.patch_embedding(latents).flatten(2).transpose(1, 2).index_select(1, token_order)
        condition, modulation, text, _ = net.condition_embedder(time, tokens, None)
        modulation = modulation.unflatten(1, (6, -1))
        for block in net.blocks:
            hidden = block(hidden, text, modulation, rotary)
        shift, scale = (net.scale_shift_table + condition.unsqueeze(1)).chunk(2, dim=1)
        hidden = (net.norm_out(hidden.float()) * (1 + scale) + shift).type_as(hidden)
        patches = restored(net.proj_out(hidden), token_order)
        patches = patches.reshape(batch, frames, height, width, 2, 2, net.config.out_channels)
        return patches.permute(0, 6, 1, 2, 4, 3, 5).reshape(
            batch, net.config.out_channels, frames, height * 2, width * 2
        )
