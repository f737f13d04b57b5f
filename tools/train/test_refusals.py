"""Mistakes that would give wrong results without an error, and missing files, are refused with a sentence."""

from __future__ import annotations

import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as functional
from safetensors.torch import save_file
from torch import nn

from glint_train.archive import sha256
from glint_train.autoencoder import Autoencoder
from glint_train.bundle import Bundle
from glint_train.collection import joint_identity, training_collections
from glint_train.networks import NoiseNetwork
from glint_train.run import load_checkpoint, save_checkpoint
from glint_train.trainer import Trainer
from glint_train.warm_start import adopt_autoencoder, identity
from glint_train.work import encoded

HERE = Path(__file__).parent
BUNDLE = HERE.parents[1] / "models/emoji-flow"


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a stage's script in this process, where a refusal is a SystemExit."""

    def run_stage(script: str, *arguments: object) -> None:
        attention = functional.scaled_dot_product_attention
        monkeypatch.setattr(functional, attention.__name__, attention)  # trainings replace it
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        runpy.run_path(str(HERE / f"{script}.py"), run_name="__main__")

    return run_stage


def write_autoencoder(work: Path, seed: int) -> None:
    """The checkpoint of an untrained autoencoder."""
    torch.manual_seed(seed)
    save_checkpoint(work / "autoencoder.pt", {"model": Autoencoder().state_dict()})


def write_images(work: Path, seed: int) -> None:
    """Two training images of noise."""
    np.save(
        work / "train_images.npy",
        np.random.default_rng(seed).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8),
    )


def test_latents_are_made_again_for_other_images_and_for_another_autoencoder(tmp_path: Path) -> None:
    write_autoencoder(tmp_path, 0)
    write_images(tmp_path, 0)
    first = encoded(tmp_path)
    assert first.shape == (2, 4, 16, 16) and first.dtype == torch.float16
    written = (tmp_path / "train_latents.pt").stat().st_mtime_ns
    assert (
        torch.equal(encoded(tmp_path), first)
        and (tmp_path / "train_latents.pt").stat().st_mtime_ns == written
    )
    write_images(tmp_path, 1)
    second = encoded(tmp_path)
    assert not torch.equal(second, first)
    write_autoencoder(tmp_path, 1)
    assert not torch.equal(encoded(tmp_path), second)


def test_another_autoencoder_than_the_bundles_is_refused(tmp_path: Path) -> None:
    adopt_autoencoder(BUNDLE, tmp_path)
    adopt_autoencoder(BUNDLE, tmp_path)  # its own
    state = load_checkpoint(tmp_path / "autoencoder.pt")
    state["model"]["decoder.out.bias"] *= 1.0001  # the one that was rounded to the bundle's float16
    save_checkpoint(tmp_path / "autoencoder.pt", state)
    adopt_autoencoder(BUNDLE, tmp_path)
    write_autoencoder(tmp_path, 0)
    with pytest.raises(SystemExit, match="is another autoencoder than that of"):
        adopt_autoencoder(BUNDLE, tmp_path)


def test_a_checkpoint_that_began_with_other_weights_is_refused(tmp_path: Path) -> None:
    def trainer(origin: str | None) -> Trainer:
        return Trainer(nn.Linear(2, 2), tmp_path / "denoiser.pt", 1.0, 13, origin=origin)

    trainer("a bundle").finish()
    trainer("a bundle")
    for other in ("another bundle", None):
        with pytest.raises(SystemExit, match="began with other weights"):
            trainer(other)
    assert identity(BUNDLE, "denoiser") != identity(BUNDLE, "weak_denoiser")


def test_networks_trained_on_other_collections_are_not_exported(
    tmp_path: Path, stage: Callable[..., None]
) -> None:
    bundle = Path(shutil.copytree(BUNDLE, tmp_path / "bundle", ignore=shutil.ignore_patterns("*.pt")))
    (tmp_path / "noise-pairs").mkdir()
    (tmp_path / "noise-pairs/prompts.json").write_text("[]")
    save_file({"noise": torch.zeros(1, 4, 16, 16)}, tmp_path / "noise-pairs/shard-00000.safetensors")
    components = {
        "denoiser": json.loads((bundle / "model.json").read_text())["components"]["denoiser"]["sha256"]
    }
    shard = {
        "file": "shard-00000.safetensors",
        "sha256": sha256(tmp_path / "noise-pairs/shard-00000.safetensors"),
    }
    manifest = {
        "format": 1,
        "kind": "noise-pairs",
        "model": {"components": components},
        "complete": True,
        "shards": [shard],
    }
    (tmp_path / "noise-pairs/collection.json").write_text(json.dumps(manifest))

    def export(trained_on: str) -> None:
        save_checkpoint(
            tmp_path / "npnet.pt", {"result": NoiseNetwork().state_dict(), "identity": trained_on}
        )
        stage("export_networks", "--work", tmp_path, "--bundle", bundle)

    with pytest.raises(SystemExit, match="npnet.pt was trained on other collections"):
        export("others")
    export(joint_identity(training_collections(tmp_path, "noise-pairs")))
    assert (bundle / "npnet.pt").exists()


@pytest.mark.parametrize("command, missing, made_by", [
    ("autoencoder --work {}", "train_images.npy", "data.py"),
    ("denoiser --work {} --init {bundle}", "tokenizer.json", "data.py"),
    ("denoiser --work {}", "autoencoder.pt", "autoencoder.py"),
    ("distill --work {}", "autoencoder.pt", "autoencoder.py"),
    ("verifier --work {}", "autoencoder.pt", "autoencoder.py"),
    ("export --work {} --out {}/out", "tokenizer.json", "data.py"),
    ("adapters --work {} --out {bundle}", "tokenizer.json", "data.py"),
    ("adapters --work {} --out {}", "model.json", "export.py"),
    ("evaluate --bundle {}", "model.json", "export.py"),
    ("sheet --bundle {}", "model.json", "export.py"),
    ("measure_networks --work {} --bundle {}", "model.json", "export.py"),
    ("weak_network --work {} --bundle {}", "model.json", "export.py"),
    ("export_networks --work {} --bundle {}", "model.json", "export.py"),
])  # fmt: skip
def test_missing_files_are_named_with_what_makes_them(
    command: str, missing: str, made_by: str, tmp_path: Path, stage: Callable[..., None]
) -> None:
    with pytest.raises(SystemExit, match=rf"{missing} is missing: .*{made_by}"):
        stage(*command.format(*2 * [tmp_path], bundle=BUNDLE).split())


def test_bundles_without_what_is_asked_of_them_are_refused(
    tmp_path: Path, stage: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        stage("evaluate", "--bundle", BUNDLE.with_name("emoji-xl"))
    assert "emoji-xl has no scorer: --judge names" in capsys.readouterr().err
    with pytest.raises(
        SystemExit, match="vae_encoder.pt is missing: a bundle with a component vae_encoder is needed"
    ):
        adopt_autoencoder(BUNDLE.with_name("emoji-xl"), tmp_path)
    with pytest.raises(SystemExit, match="has no component npnet"):
        Bundle(BUNDLE.with_name("emoji-xl")).component("npnet")


def test_an_adopted_autoencoder_is_not_trained_on(tmp_path: Path, stage: Callable[..., None]) -> None:
    for name in ("train", "test"):
        np.save(tmp_path / f"{name}_images.npy", np.zeros((2, 64, 64, 3), np.uint8))
    adopt_autoencoder(BUNDLE, tmp_path)
    with pytest.raises(SystemExit, match="autoencoder.pt was taken from a bundle"):
        stage("autoencoder", "--work", tmp_path, "--smoke")


def test_networks_sh_says_what_it_needs() -> None:
    done = subprocess.run(["sh", str(HERE / "networks.sh")], capture_output=True, text=True)
    assert done.returncode and "networks.sh WORK [BUNDLE]" in done.stderr
