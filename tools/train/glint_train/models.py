"""Text encoder and denoiser with their training loss, one class per kind of denoiser."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .denoiser import Denoiser
from .text import TextEncoder
from .unet import UnetDenoiser, signal_and_noise, stratified_steps

LARGEST_SCALE = 6.0  # of the guidance that is distilled


def training_times(batch: int, generator: torch.Generator, progress: float) -> Tensor:
    """Stratified t = sigmoid(N(centre, 1)): [B] in (0, 1); high noise, where objects are decided, first."""
    centre = 0.3 + 0.7 * (1 - progress)
    uniform = (torch.randperm(batch, generator=generator) + torch.rand(batch, generator=generator)) / batch
    return torch.sigmoid(centre + torch.special.ndtri(uniform.clamp(1e-4, 1 - 1e-4)))


class FlowModel(nn.Module):
    """Flow matching: x_t = (1 - t) x0 + t eps, target eps - x0."""

    def __init__(self, words: dict[str, int]) -> None:
        super().__init__()
        self.text_encoder, self.denoiser = TextEncoder(words), Denoiser()

    def forward(self, latents: Tensor, time: Tensor, ids: Tensor) -> Tensor:
        return self.denoiser(latents, time, *self.text_encoder(ids))

    def loss(self, latents: Tensor, ids: Tensor, generator: torch.Generator, progress: float) -> Tensor:
        """Mean squared error [] of the velocity for latents [B, 4, 16, 16] and ids [B, 16].

        Progress in [0, 1] sets the times.
        """
        noise = torch.randn(latents.shape, generator=generator)
        time = training_times(len(latents), generator, progress)
        level = time[:, None, None, None]
        made = self((1 - level) * latents + level * noise, time, ids)
        return F.mse_loss(made.float(), noise - latents)


class DistilledModel(nn.Module):
    """The flow model with the guidance scale as an input; it learns another one's two-branch predictions."""

    def __init__(self, words: dict[str, int]) -> None:
        super().__init__()
        self.text_encoder, self.denoiser = TextEncoder(words), Denoiser(guidance=True)

    def start_from(self, teacher: FlowModel) -> None:
        """The teacher's weights; the scale says nothing yet."""
        self.text_encoder.load_state_dict(teacher.text_encoder.state_dict())
        self.denoiser.load_state_dict(teacher.denoiser.state_dict(), strict=False)
        last = self.denoiser.transformer.time_text_embed.guidance_embedder.linear_2
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def loss(self, teacher: FlowModel, latents: Tensor, ids: Tensor, generator: torch.Generator) -> Tensor:
        """Mean squared distance [] to the teacher's guided velocity at latents [B, 4, 16, 16], ids [B, 16].

        Times are random, and so are scales, from 1 to `LARGEST_SCALE`.
        """
        noise = torch.randn(latents.shape, generator=generator)
        time = training_times(len(latents), generator, progress=1.0)
        scale = 1.0 + (LARGEST_SCALE - 1.0) * torch.rand(len(latents), generator=generator)
        level = time[:, None, None, None]
        x = (1 - level) * latents + level * noise
        with torch.no_grad():
            tokens, pooled = self.text_encoder(ids)
            nothing = self.text_encoder(torch.zeros_like(ids))
            conditional, null = teacher.denoiser(x, time, tokens, pooled), teacher.denoiser(x, time, *nothing)
            guided = null.float() + scale[:, None, None, None] * (conditional - null).float()
        return F.mse_loss(self.denoiser(x, time, tokens, pooled, scale).float(), guided)


class XlModel(nn.Module):
    """Variance preserving: x_t = alpha x0 + sigma eps, target v = alpha eps - sigma x0."""

    def __init__(self, words: dict[str, int]) -> None:
        super().__init__()
        self.text_encoder, self.denoiser = TextEncoder(words), UnetDenoiser()
        alpha, sigma = signal_and_noise()
        self.register_buffer("alpha", alpha, persistent=False)
        self.register_buffer("sigma", sigma, persistent=False)

    def forward(self, latents: Tensor, time: Tensor, ids: Tensor) -> Tensor:
        return self.denoiser(latents, time, self.text_encoder(ids)[0])

    def loss(self, latents: Tensor, ids: Tensor, generator: torch.Generator, progress: float) -> Tensor:
        """Mean squared error [] of v for latents [B, 4, 16, 16] and ids [B, 16], always at uniform times."""
        noise = torch.randn(latents.shape, generator=generator)
        time = stratified_steps(len(latents), generator)
        alpha, sigma = self.alpha[time, None, None, None], self.sigma[time, None, None, None]
        made = self(alpha * latents + sigma * noise, time, ids)
        return F.mse_loss(made.float(), alpha * noise - sigma * latents)


KINDS = {"flow": FlowModel, "distilled": DistilledModel, "xl": XlModel}
