"""Text encoders that return exactly what the pipelines use."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ClipEncoder(nn.Module):
    """(hidden_states[-2], pooled): projected if the network projects, else the pooler's output."""

    inputs: tuple[str, ...] = ("ids",)

    def __init__(self, name: str, network: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, network)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        output = getattr(self, self.name)(ids, output_hidden_states=True)
        projected = getattr(output, "text_embeds", None)
        return output.hidden_states[-2], output.pooler_output if projected is None else projected


class SkippingClipEncoder(ClipEncoder):
    """ClipEncoder with hidden_states[-2 - skip], skip [1] int64: diffusers' clip_skip."""

    inputs = ("ids", "skip")

    @property
    def layers(self) -> int:
        return getattr(self, self.name).config.num_hidden_layers

    def forward(self, ids: Tensor, skip: Tensor) -> tuple[Tensor, Tensor]:
        output = getattr(self, self.name)(ids, output_hidden_states=True)
        projected = getattr(output, "text_embeds", None)
        hidden = torch.stack(output.hidden_states[:-1])
        chosen = hidden.index_select(0, hidden.shape[0] - 1 - skip)[0]
        return chosen, output.pooler_output if projected is None else projected


class T5Encoder(nn.Module):
    """The last hidden state without a mask: diffusers' SD3 and FLUX attend to the padding."""

    inputs = ("ids",)

    def __init__(self, name: str, network: nn.Module) -> None:
        super().__init__()
        self.name = name
        self.add_module(name, network)

    def forward(self, ids: Tensor) -> Tensor:
        return getattr(self, self.name)(ids).last_hidden_state


class MaskedT5Encoder(T5Encoder):
    """The last hidden state with a mask, zero where there is padding, as Wan uses it."""

    inputs = ("ids", "mask")

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        hidden = getattr(self, self.name)(ids, mask).last_hidden_state
        return torch.where(mask.unsqueeze(2) > 0, hidden, torch.zeros_like(hidden))
