"""The denoiser of emoji-xl: diffusers' UNet of SDXL's kind, variance preserving, with v-prediction."""

from __future__ import annotations

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn

from .autoencoder import LATENT_CHANNELS, LATENT_SIDE
from .text import WIDTH

CHANNELS = (64, 128)
TRAIN_STEPS, BETA_START, BETA_END = 1000, 0.00085, 0.012


def make_unet() -> UNet2DConditionModel:
    """Two levels of 16 and 8 latent pixels a side; places see each other and the prompt at the lower one."""
    return UNet2DConditionModel(
        sample_size=LATENT_SIDE, in_channels=LATENT_CHANNELS, out_channels=LATENT_CHANNELS,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), block_out_channels=CHANNELS,
        layers_per_block=1, attention_head_dim=4, cross_attention_dim=WIDTH, norm_num_groups=16,
        use_linear_projection=True,
    )  # fmt: skip


def make_scheduler() -> DDIMScheduler:
    """SDXL's betas, rescaled to end in pure noise, since white pictures would leak into the last step."""
    return DDIMScheduler(
        num_train_timesteps=TRAIN_STEPS, beta_schedule="scaled_linear", beta_start=BETA_START,
        beta_end=BETA_END, prediction_type="v_prediction", rescale_betas_zero_snr=True,
        timestep_spacing="trailing", set_alpha_to_one=True, clip_sample=False,
    )  # fmt: skip


class UnetDenoiser(nn.Module):
    """(latents [B, 4, 16, 16], time [B] in 0..999, tokens [B, 16, 192]) to v = alpha eps - sigma x0."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = make_unet()

    def prepare_mixed_precision(self) -> None:
        """Nothing to keep: diffusers casts the time embedding to the latents' dtype."""

    def forward(self, latents: Tensor, time: Tensor, tokens: Tensor) -> Tensor:
        return self.unet(latents, time, encoder_hidden_states=tokens, return_dict=False)[0]


def signal_and_noise() -> tuple[Tensor, Tensor]:
    """alpha and sigma of every training step: [1000] each."""
    kept = make_scheduler().alphas_cumprod
    return kept.sqrt(), (1 - kept).sqrt()


def stratified_steps(batch: int, generator: torch.Generator) -> Tensor:
    """Uniform training steps [B], one in each of B equal parts."""
    uniform = (torch.randperm(batch, generator=generator) + torch.rand(batch, generator=generator)) / batch
    return (uniform * TRAIN_STEPS).long().clamp_max(TRAIN_STEPS - 1)
