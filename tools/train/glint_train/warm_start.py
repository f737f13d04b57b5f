"""Going on from a bundle: its float16 weights as the state of the training modules."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from .run import save_checkpoint


def component_state(bundle: Path, name: str) -> dict[str, Tensor]:
    """The float32 state of a TorchScript component; tracing keeps the names of the parameters."""
    module = torch.jit.load(str(bundle / f"{name}.pt"))
    return {key: value.float() for key, value in module.state_dict().items()}


def load_component(module: nn.Module, bundle: Path, name: str) -> None:
    """The weights of a component; traced constants (ids, position channels) are left out.

    A text encoder from before phrases had roles keeps the module's own, which change the tokens of relations only.
    """
    constants = {key for key, _ in module.named_buffers()}
    state = {key: v for key, v in component_state(bundle, name).items() if key not in constants}
    missing, unknown = module.load_state_dict(state, strict=False)
    if unknown or set(missing) - {"roles"}:
        raise SystemExit(f"{bundle}/{name}.pt has other weights: {[*missing, *unknown]}")


def autoencoder_state(bundle: Path) -> dict[str, Tensor]:
    """The state of the autoencoder's module from the bundle's encoder and decoder."""
    state = component_state(bundle, "vae_encoder") | component_state(bundle, "vae_decoder")
    return {"standardise.num_batches_tracked": torch.tensor(0)} | state


def load_autoencoder(bundle: Path, model: nn.Module) -> nn.Module:
    """Puts the bundle's autoencoder into a module."""
    model.load_state_dict(autoencoder_state(bundle))
    return model.eval()


def adopt_autoencoder(bundle: Path, path: Path) -> None:
    """Writes the bundle's autoencoder as the checkpoint of the autoencoder stage: the latent space stays the same."""
    save_checkpoint(path, {"model": autoencoder_state(bundle)})


def check_vocabulary(bundle: Path, work: Path) -> None:
    """Embeddings belong to words, so the samples must use the bundle's words."""
    ours, theirs = (json.loads((folder / "tokenizer.json").read_text()) for folder in (work, bundle))
    if ours != theirs:
        raise SystemExit(f"{work} has another vocabulary than {bundle}")
