"""Runs of diffusers' pipelines with normalized attention guidance (NAG), for the C++ pipelines to reproduce.

    python tools/golden/attention_guidance.py [FOLDER]      (default: tests/data/families)

Writes FAMILY/nag.safetensors: noise and final latents of one run per family on the tiny models, in float64.
diffusers has no NAG, so its attention processors are wrapped as the released code changes them: the image
tokens are one stream, the text tokens two, and what the image tokens take from each is combined before the
layer's output projection. Everything but the negative prompt's tokens is the prompt's.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import DiffusionPipeline
from families import NEGATIVE, Case, noise_of, run
from safetensors.torch import save_file
from tiny_pipelines import DATA, saved
from torch import Tensor, nn

SCALE, TAU, ALPHA = 5.0, 1.2, 0.5  # tau as small as makes it matter on networks with random weights
STEPS = 4

CASES = {
    "sdxl": Case("nag", STEPS, "euler", 1.0, 32, 24, batch=2),
    "sd3": Case("nag", STEPS, "flow-euler", 1.0, 32, 24),
    "flux": Case("nag", STEPS, "flow-euler", 3.5, 32, 24, negative=None),
    "wan": Case("nag", STEPS, "unipc", 1.0, 32, 48, batch=2, frames=5, shift=3.0),
}
clipped = [0, 0]  # tokens whose norm tau limited, and all


def guided(plus: Tensor, minus: Tensor) -> Tensor:
    """Extrapolated, limited and mixed: outputs [B, N, heads * size] before the output projection."""
    away = plus * SCALE - minus * (SCALE - 1)
    norms = [torch.linalg.vector_norm(z, ord=1, dim=-1, keepdim=True) for z in (plus, away)]
    ratio = norms[1] / norms[0]
    clipped[0] += int((ratio > TAU).sum())
    clipped[1] += ratio.numel()
    return ALPHA * away * torch.minimum(ratio, torch.tensor(TAU)) / ratio + (1 - ALPHA) * plus


class GuidedProcessor:
    """Around a processor of a layer that reads text: encoder states [2B, L, D], the prompts' first."""

    def __init__(self, inner: Callable, text: int | None = None) -> None:
        self.inner, self.text = inner, text

    def __call__(
        self, attn: nn.Module, hidden: Tensor, encoder_hidden_states: Tensor | None = None, *args, **more
    ) -> object:
        if encoder_hidden_states is None:
            return self.among_image_tokens(self.inner(attn, hidden, None, *args, **more))
        projection, attn.to_out = attn.to_out, nn.ModuleList([nn.Identity(), nn.Identity()])
        plus, minus = (
            self.inner(attn, hidden, part, *args, **more) for part in encoder_hidden_states.chunk(2)
        )
        attn.to_out = projection
        if isinstance(plus, Tensor):
            return projection[1](projection[0](guided(plus, minus)))
        image = projection[1](projection[0](guided(plus[0], minus[0])))
        return image, torch.cat([plus[1], minus[1]])

    def among_image_tokens(self, out: Tensor) -> Tensor:
        """FLUX's single blocks, which hold text and image tokens of both prompts in one tensor."""
        if self.text is None or out.shape[0] == 1:
            return out
        plus, minus = out.chunk(2)
        image = guided(plus[:, self.text :], minus[:, self.text :])
        return torch.cat([torch.cat([half[:, : self.text], image], dim=1) for half in (plus, minus)])


def tiled(forward: Callable) -> Callable:
    """A single block's forward that takes one image stream beside two of text."""

    def call(hidden_states: Tensor, encoder_hidden_states: Tensor, *args, **more) -> object:
        rows = encoder_hidden_states.shape[0]
        return forward(hidden_states.expand(rows, -1, -1), encoder_hidden_states, *args, **more)

    return call


@torch.no_grad()
def negative_tokens(pipe: DiffusionPipeline, family: str) -> Tensor:
    if family == "sdxl":
        return pipe.encode_prompt(NEGATIVE, do_classifier_free_guidance=False)[0]
    if family == "sd3":
        return pipe.encode_prompt(NEGATIVE, NEGATIVE, NEGATIVE, do_classifier_free_guidance=False)[0]
    if family == "wan":
        return pipe.encode_prompt(NEGATIVE, do_classifier_free_guidance=False, max_sequence_length=512)[0]
    return pipe.encode_prompt(NEGATIVE, max_sequence_length=512)[0]


def guide(pipe: DiffusionPipeline, family: str) -> None:
    """Makes every forward of the pipeline's denoiser a guided one."""
    net = pipe.unet if family == "sdxl" else pipe.transformer
    negative = negative_tokens(pipe, family)
    single = [m for m in net.modules() if type(m).__name__ == "FluxSingleTransformerBlock"]
    singles = {id(block.attn) for block in single}
    for module in net.modules():
        if hasattr(module, "processor") and hasattr(module, "to_q"):
            text = negative.shape[1] if id(module) in singles else None
            module.processor = GuidedProcessor(module.processor, text)
    for block in single:
        block.forward = tiled(block.forward)
    plain = net.forward

    def forward(*args, **more) -> object:
        tokens = more["encoder_hidden_states"]
        more["encoder_hidden_states"] = torch.cat([tokens, negative.expand(tokens.shape[0], -1, -1)])
        out = plain(*args, **more)
        # FLUX's single blocks leave both streams, which are equal.
        return tuple(value[: tokens.shape[0]] for value in out)

    net.forward = forward


def main(folder: Path) -> None:
    with tempfile.TemporaryDirectory() as work:
        for family, case in CASES.items():
            pipe = DiffusionPipeline.from_pretrained(str(saved(family, Path(work)))).to(torch.float64)
            pipe.set_progress_bar_config(disable=True)
            noise = noise_of(pipe, case, 7)
            more = {} if family == "sdxl" else {"max_sequence_length": 256 if family == "sd3" else 512}
            plain = run(pipe, pipe.scheduler.config, case, noise, **more)
            guide(pipe, family)
            clipped[:] = [0, 0]
            latents = run(pipe, pipe.scheduler.config, case, noise, **more)
            change = (latents - plain).abs().max() / plain.abs().max()
            print(f"{family}: latents change by {change:.2f}, tau limits {clipped[0]} of {clipped[1]} tokens")
            tensors = {"noise": noise, "latents": latents.float().contiguous()}
            save_file(tensors, str(folder / family / "nag.safetensors"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DATA)
