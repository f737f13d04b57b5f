"""Writes a bundle folder of format version 1.

    $(tools/env) tools/train/export.py --work DIR --out models/emoji-flow [--kind flow|distilled|xl]
        [--guidance SCALE] [--checkpoint NAME] [--weak NAME] [--init BUNDLE] [--int8]

NAME is a checkpoint in DIR, whose averaged weights are taken; `--weak` adds another one as `weak_denoiser`,
its weights in 8 bits. Both read the same token embeddings. `--int8` keeps the weights of linear layers and
convolutions in 8 bits instead of float16. A verifier in DIR becomes the component `scorer` of emoji-flow;
without one it is that of `--init`.
"""

from __future__ import annotations

import argparse
import json
import shutil
from pathlib import Path

import torch
from torch import nn

from glint_train.archive import sha256
from glint_train.autoencoder import load_autoencoder
from glint_train.bundle import read_manifest
from glint_train.components import DecodeLatents, EncodeImage, export_component
from glint_train.denoiser import PATCH
from glint_train.grammar import Grammar
from glint_train.quantise import quantise
from glint_train.unet import BETA_END, BETA_START, TRAIN_STEPS
from glint_train.scorer import Scorer, make_verifier
from glint_train.warm_start import component_file
from glint_train.work import CHECKPOINTS, earlier_denoiser, load_model, trained

NAMES = {"flow": "emoji-flow", "distilled": "emoji-flow-distilled", "xl": "emoji-xl"}
GUIDANCE = {"flow": 3.0, "distilled": 3.0, "xl": 2.0}  # the default scales of the bundled models
CONDITIONS = {
    "flow": ["latents", "time", "tokens", "pooled"],
    "distilled": ["latents", "time", "tokens", "pooled", "guidance"],
    "xl": ["latents", "time", "tokens"],
}
# How a denoiser is told the time, and where its attention layers read the prompt.
FLUX = {"time": "unit", "text_tokens": "first"}
DENOISER = {"flow": FLUX, "distilled": FLUX, "xl": {"time": "timestep", "text_tokens": "cross"}}
FLOW_SCHEDULE = {"kind": "flow", "shift": 1.0, "train_steps": 1000}
VP_SCHEDULE = {
    "kind": "vp",
    "train_steps": TRAIN_STEPS,
    "betas": "scaled_linear",
    "beta_start": BETA_START,
    "beta_end": BETA_END,
    "zero_terminal_snr": True,
    "spacing": "trailing",
    "final_alpha": "one",
}
LATENT = {
    "channels": 4,
    "height": 16,
    "width": 16,
    "fixed_size": True,
    "spatial_scale": 4,
    "frame_scale": None,
    "scaling_factor": 1.0,
    "shift_factor": 0.0,
}


def load_scorer(work: Path) -> Scorer:
    """The trained verifier as one network of picture and prompt."""
    model = make_verifier(Grammar()).eval()
    model.load_state_dict(trained(work, "verifier"))
    return Scorer(model).eval()


def load_modules(options: argparse.Namespace) -> tuple[dict[str, tuple[nn.Module, list[str]]], int]:
    """Modules with the names of their inputs, and the number of words."""
    work, kind = options.work, options.kind
    model = load_model(work, kind, options.checkpoint or CHECKPOINTS[kind])
    autoencoder = load_autoencoder(trained(work, "autoencoder")).to(memory_format=torch.contiguous_format)
    modules: dict[str, tuple[nn.Module, list[str]]] = {
        "denoiser": (model.denoiser, CONDITIONS[kind]),
        "text_encoder": (model.text_encoder, ["ids"]),
        "vae_decoder": (DecodeLatents(autoencoder), ["latents"]),
    }
    if kind == "flow":
        modules["vae_encoder"] = (EncodeImage(autoencoder), ["image"])
    if options.weak:
        modules["weak_denoiser"] = (
            quantise(earlier_denoiser(model, work, kind, options.weak)),
            CONDITIONS[kind],
        )
    if kind == "flow" and (work / "verifier.pt").exists():
        modules["scorer"] = (load_scorer(work), ["image", "ids"])
    if options.int8:
        modules = {name: (quantise(module), inputs) for name, (module, inputs) in modules.items()}
    return modules, model.text_encoder.words.num_embeddings


def adopt_scorer(bundle: Path, out: Path) -> dict[str, object]:
    """Copies another bundle's scorer and returns its manifest entry; a SystemExit if it has none."""
    component_file(bundle, "scorer")
    entry = read_manifest(bundle)["components"]["scorer"]
    if out.resolve() != bundle.resolve():
        shutil.copyfile(bundle / entry["file"], out / entry["file"])
    if sha256(out / entry["file"]) != entry["sha256"]:
        raise SystemExit(f"{bundle / entry['file']} does not match its SHA-256")
    return entry


def manifest(kind: str, guidance: float, components: dict[str, object]) -> dict[str, object]:
    """model.json of format version 1."""
    flow = kind != "xl"
    return {
        "format": 1,
        "name": NAMES[kind],
        "family": "emoji",
        "parameterization": "velocity" if flow else "v",
        "schedule": FLOW_SCHEDULE if flow else VP_SCHEDULE,
        "latent": {**LATENT, "patch": PATCH} if flow else LATENT,
        "guidance": {"null_branch": True, "embedded": kind == "distilled", "default": guidance},
        "default_steps": 20,
        **({} if flow else {"default_solver": "ddim"}),
        "torch": torch.__version__.split("+")[0],
        "components": components,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--kind", choices=tuple(NAMES), default="flow")
    parser.add_argument("--guidance", type=float, help="the default scale of the bundle; default: the kind's")
    parser.add_argument("--checkpoint", help="default: the kind's last one")
    parser.add_argument(
        "--weak", help="checkpoint whose denoiser becomes weak_denoiser, such as denoiser_start"
    )
    parser.add_argument("--init", type=Path, help="bundle whose scorer is kept if DIR has no verifier")
    parser.add_argument(
        "--int8", action="store_true", help="weights of linear layers and convolutions in 8 bits"
    )
    parser.add_argument(
        "--smoke", action="store_true", help="accepted for symmetry; the export is always short"
    )
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    modules, words = load_modules(options)
    options.out.mkdir(parents=True, exist_ok=True)
    components: dict[str, object] = {
        name: export_component(module, options.out / f"{name}.pt", inputs, words, DENOISER[options.kind])
        for name, (module, inputs) in modules.items()
    }
    if options.init and options.kind == "flow" and "scorer" not in components:
        components["scorer"] = adopt_scorer(options.init, options.out)
    tokenizer = options.out / "tokenizer.json"
    shutil.copyfile(options.work / "tokenizer.json", tokenizer)
    components["tokenizer"] = {"file": tokenizer.name, "backend": "words", "sha256": sha256(tokenizer)}
    guidance = GUIDANCE[options.kind] if options.guidance is None else options.guidance
    body = manifest(options.kind, guidance, components)
    (options.out / "model.json").write_text(json.dumps(body, indent=2) + "\n")
    print("\n".join(f"{path.name} {path.stat().st_size}" for path in sorted(options.out.iterdir())))


if __name__ == "__main__":
    main()
