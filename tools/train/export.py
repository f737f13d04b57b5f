"""Stage 5: write the bundle folder of format version 1.

python tools/train/export.py --work DIR --out models/emoji-flow [--guidance 3] [--weights average] [--weak BUNDLE]

`--weak` adds the denoiser of the bundle a run was started from as `weak_denoiser`; both read the same token embeddings. A
verifier in DIR becomes the component `scorer`.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from torch import Tensor, nn

from glint_train.archive import save_stripped, sha256
from glint_train.autoencoder import LATENT_CHANNELS, LATENT_SIDE, Autoencoder
from glint_train.denoiser import WIDTH, Denoiser, FlowModel
from glint_train.networks import NoiseNetwork, WeakNetwork
from glint_train.run import load_checkpoint
from glint_train.verifier import Scorer
from glint_train.warm_start import load_flow
from glint_train.words import MAX_TOKENS
from verifier import make_verifier


class EncodeImage(nn.Module):
    """Image [B, 3, 64, 64] in [-1, 1] to standardised latents [B, 4, 16, 16]."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.encoder, self.standardise = model.encoder, model.standardise

    def forward(self, image: Tensor) -> Tensor:
        return self.standardise(self.encoder(image))


class DecodeLatents(nn.Module):
    """Standardised latents [B, 4, 16, 16] to image [B, 3, 64, 64] in [-1, 1]."""

    def __init__(self, model: Autoencoder) -> None:
        super().__init__()
        self.decoder = model.decoder

    def forward(self, latents: Tensor) -> Tensor:
        return self.decoder(latents).clamp(-1.0, 1.0)


def load_models(work: Path, weights: str) -> tuple[FlowModel, Autoencoder]:
    """The trained models in float32; `weights` is "average", "model" or the name of another checkpoint's average."""
    words = json.loads((work / "tokenizer.json").read_text())["words"]
    flow, autoencoder = FlowModel(len(words) + 2).eval(), Autoencoder().eval()
    name = "denoiser" if weights in ("average", "model") else weights
    state, coder = load_checkpoint(work / f"{name}.pt"), load_checkpoint(work / "autoencoder.pt")
    if state is None or coder is None:
        raise SystemExit("train the autoencoder and the denoiser first")
    flow.load_state_dict(state["model" if weights == "model" else "average"])
    autoencoder.load_state_dict(coder["model"])
    return flow, autoencoder.to(memory_format=torch.contiguous_format)


def load_weak(flow: FlowModel, bundle: Path) -> Denoiser:
    """The denoiser of an earlier bundle, if it reads the same token embeddings."""
    weak = FlowModel(flow.text_encoder.words.num_embeddings).eval()
    load_flow(weak, bundle)
    for ours, theirs in zip(flow.text_encoder.parameters(), weak.text_encoder.parameters()):
        if not torch.equal(ours, theirs):
            raise SystemExit(f"the denoiser of {bundle} reads other token embeddings")
    return weak.denoiser


def load_scorer(path: Path) -> Scorer:
    """The trained verifier as one network of picture and prompt."""
    model, state = make_verifier().eval(), load_checkpoint(path)
    assert state is not None
    model.load_state_dict(state["model"])
    return Scorer(model).eval()


def example_inputs(batch: int, words: int) -> dict[str, tuple[Tensor, ...]]:
    """Random inputs of every component at a batch size."""
    latents = torch.randn(batch, LATENT_CHANNELS, LATENT_SIDE, LATENT_SIDE)
    tokens = torch.randn(batch, MAX_TOKENS, WIDTH)
    conditions = (latents, torch.rand(batch), tokens, torch.zeros(batch, WIDTH))
    image, ids = torch.rand(batch, 3, 64, 64) * 2 - 1, torch.randint(0, words, (batch, MAX_TOKENS))
    return {
        "denoiser": conditions,
        "weak_denoiser": conditions,
        "text_encoder": (ids,),
        "vae_decoder": (latents,),
        "vae_encoder": (image,),
        "scorer": (image, ids),
        "core2_weak": (latents, torch.rand(batch), tokens),
        "npnet": (latents, tokens, torch.zeros(batch, WIDTH)),
    }


INPUTS = {
    "denoiser": ["latents", "time", "tokens", "pooled"],
    "weak_denoiser": ["latents", "time", "tokens", "pooled"],
    "text_encoder": ["ids"],
    "vae_decoder": ["latents"],
    "vae_encoder": ["image"],
    "scorer": ["image", "ids"],
    "core2_weak": WeakNetwork.INPUTS,
    "npnet": NoiseNetwork.INPUTS,
}


def export_component(module: nn.Module, name: str, words: int, out: Path) -> dict[str, object]:
    """Traces in float32, stores in float16 and returns the manifest entry."""
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    traced = torch.jit.trace(module, example_inputs(2, words)[name], check_trace=False)
    path = out / f"{name}.pt"
    save_stripped(traced.half(), path)
    check_component(module.half().float(), path, name, words)
    entry: dict[str, object] = {
        "file": path.name,
        "backend": "torchscript",
        "sha256": sha256(path),
        "dtype": "float16",
        "inputs": INPUTS[name],
    }
    if name in ("denoiser", "weak_denoiser"):
        entry["time"] = "unit"
    return entry


@torch.no_grad()
def check_component(module: nn.Module, path: Path, name: str, words: int) -> None:
    """The stored file, widened to float32, equals the module (whose weights are rounded by now) at any batch size."""
    if b"debug_pkl" in path.read_bytes():
        raise RuntimeError(f"{path.name} holds debug files")
    loaded = torch.jit.load(str(path)).float()
    for batch in (1, 2, 3, 8):
        inputs = example_inputs(batch, words)[name]
        ours, theirs = module(*inputs), loaded(*inputs)
        for a, b in zip(
            ours if isinstance(ours, tuple) else (ours,), theirs if isinstance(theirs, tuple) else (theirs,)
        ):
            if a.shape != b.shape or b.dtype != torch.float32 or not torch.allclose(a, b, atol=1e-4, rtol=1e-4):
                raise RuntimeError(f"{path.name} differs at batch {batch} by {float((a - b).abs().max()):.2e}")


def manifest(components: dict[str, object], guidance: float) -> dict[str, object]:
    """model.json of format version 1."""
    latent = {
        "channels": 4,
        "height": 16,
        "width": 16,
        "fixed_size": True,
        "spatial_scale": 4,
        "frame_scale": None,
        "scaling_factor": 1.0,
        "shift_factor": 0.0,
    }
    return {
        "format": 1,
        "name": "emoji-flow",
        "family": "emoji",
        "parameterization": "velocity",
        "schedule": {"kind": "flow", "shift": 1.0, "train_steps": 1000},
        "latent": latent,
        "guidance": {"null_branch": True, "embedded": False, "default": guidance},
        "default_steps": 20,
        "torch": torch.__version__.split("+")[0],
        "components": components,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--weights", default="average", help="average, model, or a checkpoint such as denoiser_early")
    parser.add_argument("--weak", type=Path, help="bundle whose denoiser becomes weak_denoiser")
    parser.add_argument("--smoke", action="store_true", help="accepted for symmetry; the export is always short")
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    flow, autoencoder = load_models(options.work, options.weights)
    words = flow.text_encoder.words.num_embeddings
    modules: dict[str, nn.Module] = {
        "denoiser": flow.denoiser,
        "text_encoder": flow.text_encoder,
        "vae_decoder": DecodeLatents(autoencoder),
        "vae_encoder": EncodeImage(autoencoder),
    }
    if options.weak:
        modules["weak_denoiser"] = load_weak(flow, options.weak)
    if (options.work / "verifier.pt").exists():
        modules["scorer"] = load_scorer(options.work / "verifier.pt")
    components: dict[str, object] = {
        name: export_component(module, name, words, options.out) for name, module in modules.items()
    }
    tokenizer = options.out / "tokenizer.json"
    shutil.copyfile(options.work / "tokenizer.json", tokenizer)
    components["tokenizer"] = {"file": tokenizer.name, "backend": "words", "sha256": sha256(tokenizer)}
    (options.out / "model.json").write_text(json.dumps(manifest(components, options.guidance), indent=2) + "\n")
    print("\n".join(f"{path.name} {path.stat().st_size}" for path in sorted(options.out.iterdir())))


if __name__ == "__main__":
    main()
