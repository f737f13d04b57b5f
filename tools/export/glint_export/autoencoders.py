"""VAE decoders and encoders. Wan's are causal in time: one exported step takes and returns their state."""

from __future__ import annotations

import copy

import torch
from diffusers import AutoencoderKL, AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d, WanResample
from torch import Tensor, nn


def statistics(config: object, rank: int) -> tuple[Tensor, Tensor] | None:
    """Per-channel mean and deviation of the latents, shaped to broadcast, if the configuration has them."""
    mean, deviation = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is None or deviation is None:
        return None
    shape = (1, -1) + (1,) * (rank - 2)
    return torch.tensor(mean).view(shape), torch.tensor(deviation).view(shape)


def half(vae: AutoencoderKL | AutoencoderKLWan, unused: tuple[str, ...]) -> AutoencoderKL | AutoencoderKLWan:
    """The same network without the other direction's parts, whose weights would bloat the file."""
    result = copy.copy(vae)
    result._modules = {name: module for name, module in vae._modules.items() if name not in unused}
    return result


class Autoencoder(nn.Module):
    """What both directions share: the network, and the statistics where scaling is per channel."""

    unused: tuple[str, ...] = ()

    def __init__(
        self, vae: AutoencoderKL | AutoencoderKLWan, rank: int = 4, normalises: bool = True
    ) -> None:
        """`normalises`: whether the pipeline reads the statistics."""
        super().__init__()
        self.vae = half(vae, self.unused)
        found = statistics(vae.config, rank) if normalises else None
        self.normalised = found is not None
        if found is not None:
            dtype = next(vae.parameters()).dtype
            # A scalar scaling factor beside the statistics multiplies the deviations away.
            factor = getattr(vae.config, "scaling_factor", None) or 1.0
            self.register_buffer("mean", found[0].to(dtype))
            self.register_buffer("deviation", (found[1] / factor).to(dtype))

    def denormalised(self, latents: Tensor) -> Tensor:
        return latents * self.deviation + self.mean if self.normalised else latents

    def renormalised(self, latents: Tensor) -> Tensor:
        return (latents - self.mean) / self.deviation if self.normalised else latents


class ImageDecoder(Autoencoder):
    unused = ("encoder", "quant_conv")
    inputs = ("latents",)

    def forward(self, latents: Tensor) -> Tensor:
        return self.vae.decode(self.denormalised(latents), return_dict=False)[0]


class ImageEncoder(Autoencoder):
    """The mean of the posterior."""

    unused = ("decoder", "post_quant_conv")
    inputs = ("image",)

    def forward(self, image: Tensor) -> Tensor:
        moments = self.vae.encoder(image)
        if self.vae.quant_conv is not None:
            moments = self.vae.quant_conv(moments)
        return self.renormalised(moments.chunk(2, dim=1)[0])


class VideoDecoder(Autoencoder):
    """Decodes one latent frame. The state of each convolution is its last two input frames."""

    unused = ("encoder", "quant_conv")

    def __init__(self, vae: AutoencoderKLWan, first: bool) -> None:
        super().__init__(vae, rank=5)
        self.first = first
        self.count = len(states_of(vae, decoder=True))
        self.upsampling = [
            (module.time_conv.in_channels, 2**depth)
            for depth, module in enumerate(upsamplers(vae.decoder))
            if module.mode == "upsample3d"
        ]
        self.inputs = ("latents", *(() if first else (f"state_{i}" for i in range(self.count))))

    def forward(self, latents: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        cache: list[Tensor | str | None] = list(states) if states else [None] * self.count
        hidden = self.vae.post_quant_conv(self.denormalised(latents))
        pictures = self.vae.decoder(hidden, feat_cache=cache, feat_idx=[0], first_chunk=self.first)
        if self.first:
            cache = self.filled(cache, latents)
        # Not clamped: tiles are blended first.
        return (pictures, *cache)

    def filled(self, cache: list[Tensor | str | None], latents: Tensor) -> list[Tensor]:
        """Two frames everywhere: zeros stand before the first one."""
        result, places = [], iter(self.upsampling)
        for entry in cache:
            if isinstance(entry, str):
                channels, scale = next(places)
                height, width = latents.shape[3] * scale, latents.shape[4] * scale
                result.append(latents.new_zeros(latents.shape[0], channels, 2, height, width))
            else:
                result.append(torch.cat((torch.zeros_like(entry), entry), dim=2))
        return result


class VideoEncoder(Autoencoder):
    """Encodes the first frame, or the next four."""

    unused = ("decoder", "post_quant_conv")

    def __init__(self, vae: AutoencoderKLWan, first: bool) -> None:
        super().__init__(vae, rank=5)
        self.first = first
        self.count = len(states_of(vae, decoder=False))
        self.inputs = ("image", *(() if first else (f"state_{i}" for i in range(self.count))))

    def forward(self, image: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        cache: list[Tensor | None] = list(states) if states else [None] * self.count
        moments = self.vae.quant_conv(self.vae.encoder(image, feat_cache=cache, feat_idx=[0]))
        # What a downsampling in time keeps is one frame, which stays one; the others keep two.
        kept = [entry for entry in cache if entry is not None]
        if self.first:
            kept = [
                k if single else torch.cat((torch.zeros_like(k), k), dim=2)
                for k, single in zip(kept, self.single())
            ]
        return (self.renormalised(moments.chunk(2, dim=1)[0]), *kept)

    def single(self) -> list[bool]:
        return states_of(self.vae, decoder=False)


def upsamplers(network: nn.Module) -> list[WanResample]:
    return [m for m in network.modules() if isinstance(m, WanResample)]


def states_of(vae: AutoencoderKLWan, decoder: bool) -> list[bool]:
    """For each cache entry the network uses, whether it is one frame (a downsampling in time) and not two.

    Found by running the smallest input: the order is the network's business.
    """
    network = vae.decoder if decoder else vae.encoder
    channels = vae.config.z_dim if decoder else vae.config.in_channels
    parameter = next(network.parameters())
    side = 1 if decoder else 2 ** (len(vae.config.dim_mult) - 1)
    cache: list = [None] * sum(isinstance(m, WanCausalConv3d) for m in network.modules())
    with torch.no_grad():
        frames = parameter.new_zeros(1, channels, 1, side, side)
        options = {"first_chunk": True} if decoder else {}
        network(frames, feat_cache=cache, feat_idx=[0], **options)
        if decoder:
            return [False for entry in cache if entry is not None]
        network(frames.repeat(1, 1, 4, 1, 1), feat_cache=cache, feat_idx=[0])
    return [entry.shape[2] == 1 for entry in cache if entry is not None]
