"""Smoke run of every training stage in a temporary folder, and checks of the grammar and of the bundle it writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from glint_train.archive import sha256  # noqa: E402
from glint_train.bundle import Bundle  # noqa: E402
from glint_train.grammar import Grammar  # noqa: E402
from glint_train.render import Renderer  # noqa: E402
from glint_train.words import WordTokenizer, build_vocabulary  # noqa: E402


def run(stage: str, *arguments: str) -> str:
    """Runs a stage's script and returns what it printed."""
    command = [sys.executable, str(HERE / f"{stage}.py"), *arguments, "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle made by all stages."""
    work = tmp_path_factory.mktemp("train")
    for stage in ("data", "autoencoder", "denoiser"):
        run(stage, "--work", str(work))
    run("export", "--work", str(work), "--out", str(work / "emoji-flow"))
    return work / "emoji-flow"


def test_samples_depend_on_seed_and_index_only() -> None:
    grammar = Grammar()
    renderer = Renderer(grammar)

    def sample(index: int) -> tuple[str, np.ndarray]:
        rng = np.random.default_rng([7, index])
        scene, prompt = grammar.draw(rng)
        return prompt, renderer.render(scene, rng)

    first = [sample(index) for index in range(20)]
    for index in reversed(range(20)):
        prompt, image = sample(index)
        assert prompt == first[index][0]
        assert np.array_equal(image, first[index][1])


def test_grammar_covers_the_mix_and_holds_combinations_out() -> None:
    grammar = Grammar()
    assert len(grammar.objects) >= 400
    tokenizer = WordTokenizer(build_vocabulary(grammar))
    composed = 0
    for index in range(2000):
        scene, prompt = grammar.draw(np.random.default_rng([3, index]))
        assert not grammar.scene_held_out(scene)
        ids = tokenizer.encode(prompt)
        assert ids.shape == (16,) and 1 not in ids
        composed += len(scene.parts) > 1 or bool(scene.background or scene.parts[0].size or scene.parts[0].colour)
    assert 0.25 <= composed / 2000 <= 0.42  # natural colours such as "red apple" count among the single objects


def test_tokenizer() -> None:
    tokenizer = WordTokenizer({"red": 2, "apple": 3})
    assert tokenizer.encode("A RED, apple!").tolist() == [1, 2, 3] + [0] * 13
    assert tokenizer.encode("").tolist() == [0] * 16
    assert len(tokenizer.encode("red " * 40)) == 16


def test_bundle_matches_its_manifest(folder: Path) -> None:
    manifest = json.loads((folder / "model.json").read_text())
    assert manifest["format"] == 1 and manifest["parameterization"] == "velocity"
    for entry in manifest["components"].values():
        assert sha256(folder / entry["file"]) == entry["sha256"]
    for name in ("denoiser", "text_encoder", "vae_decoder", "vae_encoder"):
        content = (folder / manifest["components"][name]["file"]).read_bytes()
        assert b"debug_pkl" not in content and str(HERE).encode() not in content


def test_bundle_makes_pictures(folder: Path) -> None:
    images = Bundle(folder).generate(["red apple", "a small key left of a red star", ""], guidance=2.0, steps=2)
    assert images.shape == (3, 64, 64, 3) and images.dtype == np.uint8


def test_runs_resume(folder: Path) -> None:
    assert "final" in run("autoencoder", "--work", str(folder.parent))
    assert "done" in run("denoiser", "--work", str(folder.parent))
    assert "guidance" in run("sheet", "--bundle", str(folder), "--out", str(folder.parent / "sheet.png"))
