"""The autoencoder: images [B, 3, 64, 64] in [-1, 1] to standardised latents [B, 4, 16, 16] and back."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LATENT_CHANNELS, LATENT_SIDE = 4, 16


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a skip connection; the second starts at zero."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class Upsample(nn.Module):
    """Doubles the side with a sub-pixel convolution that starts as nearest upsampling: no built-in grid."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs * 4, 3, padding=1)
        with torch.no_grad():
            kernel = nn.init.kaiming_normal_(torch.empty(outputs, inputs, 3, 3), nonlinearity="linear")
            self.convolution.weight.copy_(kernel.repeat_interleave(4, dim=0))
            self.convolution.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(self.convolution(x), 2)


class Encoder(nn.Module):
    """Image [B, 3, 64, 64] to raw latents [B, 4, 16, 16]."""

    def __init__(self, width: int = 80) -> None:
        super().__init__()
        self.stem = nn.Conv2d(12, 48, 3, padding=1)
        self.down = nn.Conv2d(48, width, 4, stride=2, padding=1)
        self.body = nn.Sequential(Residual(width), Residual(width))
        self.out = nn.Conv2d(width, LATENT_CHANNELS, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        x = F.silu(self.stem(F.pixel_unshuffle(image, 2)))
        return self.out(F.silu(self.body(self.down(x))))


class Decoder(nn.Module):
    """Latents [B, 4, 16, 16] to image [B, 3, 64, 64]."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.stem = nn.Conv2d(LATENT_CHANNELS, width, 3, padding=1)
        self.coarse = nn.Sequential(Residual(width), Residual(width), Residual(width))
        self.up1 = Upsample(width, 64)
        self.middle = Residual(64)
        self.up2 = Upsample(64, 24)
        self.fine = nn.Conv2d(24, 24, 3, padding=1)
        self.out = nn.Conv2d(24, 3, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        x = self.coarse(self.stem(latents))
        x = F.silu(self.middle(self.up1(F.silu(x))))
        x = F.silu(self.up2(x))
        return self.out(F.silu(self.fine(x)))


class Autoencoder(nn.Module):
    """Encoder, standardisation of the latents, decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(), Decoder()
        self.standardise = nn.BatchNorm2d(LATENT_CHANNELS, affine=False, momentum=0.02)

    def encode(self, image: Tensor) -> Tensor:
        """Images [B, 3, 64, 64] in [-1, 1] to latents [B, 4, 16, 16] of about unit variance per channel."""
        return self.standardise(self.encoder(image))

    def decode(self, latents: Tensor) -> Tensor:
        """Latents [B, 4, 16, 16] to images [B, 3, 64, 64], not yet clamped to [-1, 1]."""
        return self.decoder(latents)


def load_autoencoder(state: dict[str, Tensor]) -> Autoencoder:
    """The autoencoder of a checkpoint's or a bundle's state, in evaluation mode."""
    model = Autoencoder().eval()
    model.load_state_dict(state)
    return model


def reconstruction_loss(made: Tensor, image: Tensor) -> Tensor:
    """Squared error with a little L1 and L1 of the gradients, which keep edges sharp."""
    error = made - image
    gradients = error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
    return error.square().mean() + 0.1 * error.abs().mean() + 0.1 * gradients


def psnr(made: Tensor, image: Tensor) -> Tensor:
    """Peak signal-to-noise ratio per image in dB for images in [-1, 1]: [B]."""
    mse = (made.clamp(-1, 1) - image).square().mean(dim=(1, 2, 3))
    return 10 * torch.log10(4.0 / mse.clamp_min(1e-10))
