"""The parts a pipeline consists of, with inputs to trace and check them by."""

from __future__ import annotations

import torch
from diffusers import DiffusionPipeline
from torch import Tensor, nn
from torch.export import Dim

from .autoencoders import ImageDecoder, ImageEncoder, VideoDecoder, VideoEncoder
from .errors import require
from .parts import Inputs, Part, Size, dtype_of
from .text_encoders import ClipEncoder, MaskedT5Encoder, SkippingClipEncoder


def draw(module: nn.Module, *shape: int) -> Tensor:
    """Normal numbers in the dtype and on the device of a network."""
    return torch.randn(*shape, device=next(module.parameters()).device).to(dtype_of(module))


def times(module: nn.Module, batch: int) -> Tensor:
    return torch.linspace(100.0, 900.0, batch, device=next(module.parameters()).device).floor()


def text_part(name: str, network: nn.Module, kind: type[nn.Module], length: int, tokenizer: object) -> Part:
    """A text encoder; its reference is the network itself."""
    most = getattr(network.config, "max_position_embeddings", None)
    require(
        most is None or length <= most,
        f"{name}: max_position_embeddings = {most} is not supported beside a tokenizer of {length} tokens",
    )
    wrapper = kind(name, network)
    device = next(network.parameters()).device
    end = getattr(network.config, "eos_token_id", 1)
    end = tokenizer.eos_token_id if end == 2 or end is None else end

    def inputs_of(size: Size) -> Inputs:
        most = tokenizer.eos_token_id if issubclass(kind, ClipEncoder) else 30
        ids = torch.randint(3, most, (size.batch, length), device=device)
        mask = torch.ones_like(ids)
        for row in range(size.batch):
            last = min(length - 1, 3 + row * 2)
            ids[row, last] = end
            ids[row, last + 1 :] = tokenizer.pad_token_id
            mask[row, last + 1 :] = 0
        if kind is SkippingClipEncoder:
            return ids, torch.full((1,), size.batch % wrapper.layers, device=device)
        return (ids, mask) if kind is MaskedT5Encoder else (ids,)

    def reference(ids: Tensor, mask: Tensor | None = None) -> Inputs:
        if issubclass(kind, ClipEncoder):
            output = network(ids, output_hidden_states=True)
            pooled = output.text_embeds if hasattr(output, "text_embeds") else output.pooler_output
            return output.hidden_states[-2 - (0 if mask is None else int(mask))], pooled
        if mask is None:
            return (network(ids)[0],)
        return (network(ids, mask).last_hidden_state * mask.unsqueeze(2).to(dtype_of(network)),)

    batch = Dim("batch", max=4096)
    shapes = tuple({} if name == "skip" else {0: batch} for name in wrapper.inputs)
    fields = {"layers": wrapper.layers} if kind is SkippingClipEncoder else {}
    return Part(name, wrapper, inputs_of, reference, shapes, fields)


def plain_vae_parts(vae: nn.Module) -> list[Part]:
    """Of a pipeline that knows no statistics of channels."""
    return image_vae_parts(vae, normalises=False)


def image_vae_parts(vae: nn.Module, normalises: bool = True) -> list[Part]:
    decoder, encoder = (kind(vae, normalises=normalises).eval() for kind in (ImageDecoder, ImageEncoder))
    scale = 2 ** (len(vae.config.block_out_channels) - 1)

    def decode(latents: Tensor) -> Tensor:
        return vae.decode(decoder.denormalised(latents)).sample

    def encode(image: Tensor) -> Tensor:
        return encoder.renormalised(vae.encode(image).latent_dist.mode())

    batch, height, width = Dim("batch", max=63), Dim("height", max=4096), Dim("width", max=4096)

    def sizes(size: Size, channels: int, factor: int) -> tuple[int, ...]:
        return size.batch, channels, size.height * factor, size.width * factor

    def latents_of(size: Size) -> Inputs:
        return (draw(vae, *sizes(size, vae.config.latent_channels, 1)),)

    def image_of(size: Size) -> Inputs:
        return (draw(vae, *sizes(size, 3, scale)),)

    image_shape = {0: batch, 2: scale * height, 3: scale * width}
    return [
        Part("vae_decoder", decoder, latents_of, decode, ({0: batch, 2: height, 3: width},)),
        Part("vae_encoder", encoder, image_of, encode, (image_shape,)),
    ]


class VideoSteps:
    """First and later steps of one direction of Wan's VAE; the reference runs a whole two-step video."""

    def __init__(self, vae: nn.Module, decoding: bool) -> None:
        self.vae, self.decoding = vae, decoding
        kind = VideoDecoder if decoding else VideoEncoder
        self.first, self.later = kind(vae, first=True).eval(), kind(vae, first=False).eval()
        self.before = torch.empty(0)

    def frames(self, size: Size, count: int) -> Tensor:
        scale = 1 if self.decoding else self.vae.config.scale_factor_spatial
        channels = self.vae.config.z_dim if self.decoding else 3
        return draw(self.vae, size.batch, channels, count, size.height * scale, size.width * scale)

    @torch.no_grad()
    def later_inputs(self, size: Size) -> Inputs:
        self.before = self.frames(size, 1)
        return (self.frames(size, 1 if self.decoding else 4), *self.first(self.before)[1:])

    def decoded(self, latents: Tensor) -> Tensor:
        """What vae.decode gives, before it is clamped."""
        self.vae.clear_cache()
        hidden = self.vae.post_quant_conv(self.first.denormalised(latents))
        parts = []
        for i, frame in enumerate(hidden.split(1, dim=2)):
            self.vae._conv_idx = [0]
            cache = {"feat_cache": self.vae._feat_map, "feat_idx": self.vae._conv_idx}
            parts.append(self.vae.decoder(frame, **cache, first_chunk=i == 0))
        self.vae.clear_cache()
        return torch.cat(parts, dim=2)

    def whole(self, video: Tensor) -> Tensor:
        if self.decoding:
            return self.decoded(video)
        return self.first.renormalised(self.vae.encode(video).latent_dist.mode())

    def later_reference(self, video: Tensor, *_: Tensor) -> Tensor:
        return self.whole(torch.cat((self.before, video), dim=2))[:, :, 1:]

    def parts(self, name: str) -> list[Part]:
        free = {i: Dim.AUTO for i in (0, 3, 4)}
        states = tuple(free for _ in range(self.later.count))
        return [
            Part(name, self.first, lambda size: (self.frames(size, 1),), self.whole, (free,)),
            Part(f"{name}_next", self.later, self.later_inputs, self.later_reference, (free, states)),
        ]


def video_vae_parts(vae: nn.Module) -> list[Part]:
    decoder, encoder = (VideoSteps(vae, decoding) for decoding in (True, False))
    return decoder.parts("vae_decoder") + encoder.parts("vae_encoder")


def text_parts(pipeline: DiffusionPipeline, plan: dict[str, tuple[type[nn.Module], int]]) -> list[Part]:
    """The text encoders named in `plan`, each with its kind and length."""
    parts = []
    for name, (kind, length) in plan.items():
        tokenizer = getattr(pipeline, name.replace("text_encoder", "tokenizer"))
        parts.append(text_part(name, getattr(pipeline, name), kind, length, tokenizer))
    return parts
