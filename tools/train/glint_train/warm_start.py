"""Going on from a bundle: its float16 weights as the state of the training modules."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor

from .denoiser import FlowModel
from .run import save_checkpoint


def component_state(bundle: Path, name: str) -> dict[str, Tensor]:
    """The float32 state of a TorchScript component; tracing keeps the names of the parameters."""
    module = torch.jit.load(str(bundle / f"{name}.pt"))
    return {key: value.float() for key, value in module.state_dict().items()}


def load_flow(model: FlowModel, bundle: Path, denoiser: str = "denoiser") -> None:
    """Text encoder and denoiser of a bundle; traced constants (ids, position channels) are left out."""
    constants = {name for name, _ in model.denoiser.named_buffers()}
    state = {key: v for key, v in component_state(bundle, denoiser).items() if key not in constants}
    model.denoiser.load_state_dict(state)
    model.text_encoder.load_state_dict(component_state(bundle, "text_encoder"))


def adopt_autoencoder(bundle: Path, path: Path) -> None:
    """Writes the bundle's autoencoder as the checkpoint of the autoencoder stage: the latent space stays the same."""
    state = component_state(bundle, "vae_encoder") | component_state(bundle, "vae_decoder")
    state.setdefault("standardise.num_batches_tracked", torch.tensor(0))
    save_checkpoint(path, {"model": state})


def check_vocabulary(bundle: Path, work: Path) -> None:
    """Embeddings belong to words, so the samples must use the bundle's words."""
    ours, theirs = (json.loads((folder / "tokenizer.json").read_text()) for folder in (work, bundle))
    if ours != theirs:
        raise SystemExit(f"{work} has another vocabulary than {bundle}")
