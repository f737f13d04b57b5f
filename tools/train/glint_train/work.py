"""The working folder of a training (`--work DIR`): what one stage leaves there for the next ones."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .archive import sha256
from .autoencoder import load_autoencoder
from .models import KINDS
from .precision import autocast
from .run import load_checkpoint, require, save_checkpoint, to_images
from .words import read_words

NO_SAMPLES = "run tools/train/data.py with the same --work first"
CHECKPOINTS = {"flow": "denoiser", "distilled": "distilled", "xl": "xl"}  # by kind
# Of checkpoints that are not named after their stages.
STAGES = {"xl": "denoiser.py --kind xl", "distilled": "distill.py"}


def samples(work: Path, name: str, mapped: bool = False) -> np.ndarray:
    """An array of data.py by its name.

    `train_images` uint8 [N, 64, 64, 3], `train_ids` int64 [N, 16], and the same of `test`. With `mapped` it
    stays in its file and is read where it is used. A SystemExit if it is missing.
    """
    return np.load(require(work / f"{name}.npy", NO_SAMPLES), mmap_mode="r" if mapped else None)


def vocabulary(work: Path) -> dict[str, int]:
    """The words of data.py's tokenizer and their ids, from 2 on."""
    return read_words(work, NO_SAMPLES)


def trained(work: Path, name: str, weights: str = "model") -> dict[str, Tensor]:
    """The state, `model` or `average`, in the checkpoint `name` of a stage; a SystemExit if there is none."""
    kind = name.split("_")[0]  # of denoiser_early, say
    stage = STAGES.get(kind, f"{kind}.py")
    path = require(work / f"{name}.pt", f"run tools/train/{stage} with the same --work first")
    return load_checkpoint(path)[weights]


def load_model(work: Path, kind: str, name: str) -> nn.Module:
    """Text encoder and denoiser of the checkpoint `name` in float32, the average of the weights."""
    model = KINDS[kind](vocabulary(work)).eval()
    model.load_state_dict(trained(work, name, "average"))
    return model


def earlier_denoiser(model: nn.Module, work: Path, kind: str, name: str) -> nn.Module:
    """The denoiser of another checkpoint.

    A SystemExit unless it reads the model's token embeddings, up to the roles of phrases.
    """
    earlier, roles = load_model(work, kind, name), model.text_encoder.roles
    for ours, theirs in zip(model.text_encoder.parameters(), earlier.text_encoder.parameters()):
        if ours is not roles and not torch.equal(ours, theirs):
            raise SystemExit(
                f"the denoiser of {name} reads other token embeddings: its run trained the text encoder too. "
                "A further run (denoiser.py --init BUNDLE) leaves the text encoder as it is"
            )
    return earlier.denoiser


def fingerprint(state: dict[str, Tensor]) -> str:
    """The hexadecimal SHA-256 of the names and values of a module's state."""
    digest = hashlib.sha256()
    for name, value in state.items():
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def encoded(work: Path) -> Tensor:
    """Latents of the training images in DIR: float16 [N, 4, 16, 16].

    `train_latents.pt` keeps them with the hashes of what they were made from. They are made again when
    images or autoencoder have changed: others' latents would be trained on without an error.
    """
    path, state = work / "train_latents.pt", trained(work, "autoencoder")
    images = samples(work, "train_images", mapped=True)
    source = f"{sha256(work / 'train_images.npy')} {fingerprint(state)}"
    kept = load_checkpoint(path)
    if kept is None or kept["source"] != source:
        model = load_autoencoder(state)
        with torch.no_grad(), autocast():
            parts = [
                model.encode(to_images(np.array(images[i : i + 64]))).half()
                for i in range(0, len(images), 64)
            ]
        kept = {"latents": torch.cat(parts), "source": source}
        save_checkpoint(path, kept)
    return kept["latents"]
