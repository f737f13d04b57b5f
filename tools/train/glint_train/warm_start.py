"""Going on from a bundle: its float16 weights as the state of the training modules."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from .archive import sha256
from .bundle import WHAT_IS_A_BUNDLE
from .run import load_checkpoint, require, save_checkpoint
from .words import read_words
from .work import vocabulary


def component_file(bundle: Path, name: str) -> Path:
    """The file of a bundle's component; a SystemExit if it has none."""
    hint = f"a bundle with a component {name} is needed here, such as models/emoji-flow"
    return require(bundle / f"{name}.pt", hint)


def component_state(bundle: Path, name: str) -> dict[str, Tensor]:
    """The float32 state of a TorchScript component; tracing keeps the names of the parameters."""
    module = torch.jit.load(str(component_file(bundle, name)))
    return {key: value.float() for key, value in module.state_dict().items()}


def load_component(module: nn.Module, bundle: Path, name: str) -> None:
    """The weights of a component; traced constants (ids, position channels) are left out.

    A text encoder from before phrases had roles keeps the module's own, which change only the tokens of
    relations.
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


def adopt_autoencoder(bundle: Path, work: Path) -> None:
    """Gives the working folder the bundle's autoencoder: the latent space stays the same.

    A SystemExit if the folder has another one; the one the bundle was exported from is the same, up to
    float16.
    """
    theirs, path = autoencoder_state(bundle), work / "autoencoder.pt"
    state = load_checkpoint(path)
    if state is None:
        save_checkpoint(path, {"model": theirs})
        return
    weights = {name: value for name, value in theirs.items() if value.is_floating_point() and value.dim()}
    if not all(torch.equal(state["model"][name].half(), value.half()) for name, value in weights.items()):
        raise SystemExit(
            f"{path} is another autoencoder than that of {bundle}: run in a new DIR, or delete it"
        )


def identity(bundle: Path, *names: str) -> str:
    """The SHA-256 of the files of some components: what a run that goes on from them depends on."""
    return "+".join(sha256(component_file(bundle, name)) for name in names)


def check_vocabulary(bundle: Path, work: Path) -> None:
    """Embeddings belong to words, so the samples must use the bundle's words; a SystemExit if they do not."""
    if vocabulary(work) != read_words(bundle, WHAT_IS_A_BUNDLE):
        raise SystemExit(f"{work} has another vocabulary than {bundle}")
