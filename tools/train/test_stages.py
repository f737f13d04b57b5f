"""Smoke run of every training stage in a temporary folder, and checks of the bundles it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from glint_train.archive import sha256
from glint_train.bundle import Bundle
from glint_train.run import load_checkpoint
from glint_train.unet import signal_and_noise
from glint_train.warm_start import component_state

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def folder(run: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle made by all stages."""
    work = tmp_path_factory.mktemp("train")
    for stage in ("data", "autoencoder", "denoiser", "verifier"):
        run(stage, "--work", str(work))
    run("export", "--work", str(work), "--out", str(work / "emoji-flow"))
    return work / "emoji-flow"


@pytest.fixture(scope="module")
def continued(run: Callable[..., str], folder: Path) -> Path:
    """A bundle of a run that goes on from the first one and keeps that one's denoiser as the weak variant."""
    work = folder.parent / "continued"
    run("data", "--work", str(work))
    run("denoiser", "--work", str(work), "--init", str(folder), "--compositions", "0.7", "0.5")
    out = work / "emoji-flow"
    run("export", "--work", str(work), "--out", str(out), "--weak", "denoiser_start", "--init", str(folder))
    run("adapters", "--work", str(work), "--out", str(out))
    return out


@pytest.fixture(scope="module")
def distilled(run: Callable[..., str], continued: Path) -> Path:
    """A bundle of the distilled denoiser."""
    run("distill", "--work", str(continued.parent))
    out = continued.parent / "distilled"
    run("export", "--work", str(continued.parent), "--out", str(out), "--kind", "distilled", "--int8")
    return out


@pytest.fixture(scope="module")
def xl(run: Callable[..., str], folder: Path, continued: Path) -> Path:
    """A bundle of the UNet, which reads the tokens of the first bundle."""
    run("denoiser", "--work", str(continued.parent), "--kind", "xl", "--init", str(folder))
    run(
        "export", "--work", str(continued.parent), "--out", str(continued.parent / "emoji-xl"), "--kind", "xl"
    )
    return continued.parent / "emoji-xl"


@pytest.mark.parametrize("stage", [("export", "--weak"), ("adapters", "--from")])
def test_denoisers_of_a_growing_text_encoder_are_no_weak_variants(
    folder: Path, tmp_path: Path, stage: tuple[str, str]
) -> None:
    script, option = stage
    out = tmp_path if script == "export" else folder
    command = [sys.executable, str(HERE / f"{script}.py"), "--work", str(folder.parent), "--out", str(out)]
    done = subprocess.run([*command, option, "denoiser_early", "--smoke"], capture_output=True, text=True)
    assert done.returncode == 1 and "denoiser_early reads other token embeddings" in done.stderr, done.stderr


def test_bundle_matches_its_manifest(folder: Path) -> None:
    manifest = json.loads((folder / "model.json").read_text())
    assert manifest["format"] == 1 and manifest["parameterization"] == "velocity"
    for entry in manifest["components"].values():
        assert sha256(folder / entry["file"]) == entry["sha256"]
    for name in ("denoiser", "text_encoder", "vae_decoder", "vae_encoder"):
        content = (folder / manifest["components"][name]["file"]).read_bytes()
        assert b"debug_pkl" not in content and str(HERE).encode() not in content


def test_bundle_makes_pictures(folder: Path) -> None:
    images = Bundle(folder).generate(
        ["red apple", "a small key left of a red star", ""], guidance=2.0, steps=2
    )
    assert images.shape == (3, 64, 64, 3) and images.dtype == np.uint8


def test_a_continued_run_keeps_latents_and_tokens_but_not_the_denoiser(folder: Path, continued: Path) -> None:
    first, second = Bundle(folder), Bundle(continued)
    latents, time = torch.randn(2, 4, 16, 16), torch.full((2,), 0.5)
    # Without a relation, whose roles go on learning.
    plain = ["red apple", "a small key on a yellow background"]
    tokens, pooled = first.encode_text(plain)
    assert torch.equal(second.encode_text(plain)[0], tokens)
    assert torch.equal(second.decoder(latents), first.decoder(latents))
    assert second.manifest["components"]["scorer"] == first.manifest["components"]["scorer"]
    before, after = (bundle.denoiser(latents, time, tokens, pooled) for bundle in (first, second))
    weak = second.component("weak_denoiser")(latents, time, tokens, pooled)
    assert not torch.allclose(after, before, atol=1e-4)
    # 8 bits; a few steps move it less still, so also exactly:
    assert (weak - before).norm() < 0.01 * before.norm()
    start = load_checkpoint(continued.parent / "denoiser_start.pt")["average"]
    stored = component_state(folder, "denoiser")
    kept = {
        name.removeprefix("denoiser."): value for name, value in start.items() if name.startswith("denoiser.")
    }
    assert all(torch.equal(value, stored[name]) for name, value in kept.items())


def test_the_distilled_denoiser_takes_the_scale(distilled: Path) -> None:
    bundle = Bundle(distilled)
    assert bundle.manifest["guidance"]["embedded"] and bundle.inputs[-1] == "guidance"
    first, second = (bundle.latents(["red apple"], scale, 2, 0) for scale in (1.0, 5.0))
    assert first.shape == (1, 4, 16, 16) and not torch.equal(first, second)


def test_the_unet_predicts_v_of_its_process(xl: Path) -> None:
    alpha, sigma = signal_and_noise()
    assert torch.allclose(alpha**2 + sigma**2, torch.ones(1000)) and float(alpha[-1]) == 0.0
    bundle = Bundle(xl)
    assert bundle.manifest["guidance"]["default"] == 2.0
    assert bundle.manifest["parameterization"] == "v" and bundle.manifest["schedule"]["zero_terminal_snr"]
    assert bundle.manifest["components"]["denoiser"]["time"] == "timestep"
    assert bundle.generate(["red apple", ""], guidance=2.0, steps=2).shape == (2, 64, 64, 3)


def test_runs_resume(run: Callable[..., str], folder: Path, continued: Path, distilled: Path) -> None:
    assert "final" in run("autoencoder", "--work", str(folder.parent))
    assert "done" in run("denoiser", "--work", str(folder.parent))
    assert "done" in run("verifier", "--work", str(folder.parent))
    assert "done" in run("distill", "--work", str(continued.parent))
    weak = str(continued / "weak.safetensors")
    assert "| singles | 2 |" in run("evaluate", "--bundle", str(continued), "--adapter", weak)
    table = run("evaluate", "--bundle", str(continued))
    for text in (
        "| truth |",
        "| truth, decoded |",
        "| held-out | weak, 3 |",
        "denoiser, guidance 1 against 2",
    ):
        assert text in table
    assert "| singles | 2 |" in run("evaluate", "--bundle", str(distilled), "--judge", str(folder))
    assert "guidance" in run("sheet", "--bundle", str(folder), "--out", str(folder.parent / "sheet.png"))
