"""TeaCache's mask: the rule on distances known by construction, and embeddings as a Wan pipeline has them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import WanPipeline

sys.path.insert(0, str(Path(__file__).parents[1] / "golden"))
import step_mask
from tiny_pipelines import saved


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved("wan", tmp_path_factory.mktemp("pipelines"))


def growing(change: float, steps: int) -> list[torch.Tensor]:
    """Embeddings each of which differs from the one before by `change`, relatively."""
    return [torch.full((4,), (1 + change) ** i, dtype=torch.float64) for i in range(steps)]


def test_steps_run_once_the_distance_reaches_the_threshold() -> None:
    identity = (1.0, 0.0)
    # From step 5 on 0.1 a step: 0.1, 0.2 >= 0.15, and again.
    assert step_mask.mask(growing(0.1, 12), identity, 0.15, "e0") == "111110101010"
    assert step_mask.mask(growing(0.1, 9), identity, 0.25, "e") == "100100101"
    assert step_mask.mask(growing(0.1, 8), identity, 0.0, "e") == "1" * 8
    assert step_mask.mask(growing(0.1, 8), identity, 9.0, "e0") == "11111000"


@pytest.mark.parametrize("kind", ["e", "e0"])
def test_embeddings_are_those_of_a_run(folder: Path, kind: str) -> None:
    pipe = WanPipeline.from_pretrained(str(folder))
    pipe.set_progress_bar_config(disable=True)
    seen: list[torch.Tensor] = []
    pipe.transformer.condition_embedder.register_forward_hook(
        lambda module, inputs, output: seen.append(output[0 if kind == "e" else 1])
    )
    size = {"height": 32, "width": 32, "num_frames": 1}
    pipe("fox", num_inference_steps=7, guidance_scale=1.0, output_type="latent", **size)
    found, blocks = step_mask.embeddings(folder, 7, None, kind)
    assert blocks == 2
    assert len(seen) == len(found) == 7
    for one, other in zip(found, seen, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def call(*arguments: object) -> None:
        monkeypatch.setattr(sys, "argv", ["step_mask.py", *map(str, arguments)])
        step_mask.main()

    return call


def test_prints_options_of_the_program(
    folder: Path, run: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    run(folder, "--threshold", 0.1, "--steps", 12, "--size", "1.3B")
    printed = capsys.readouterr()
    options = printed.out.split()
    assert options[:3] == ["--steps", "12", "--with"]
    mask = options[3].removeprefix("step-mask:mask=")
    assert mask.startswith("11111")
    assert len(mask) == 12
    assert f"runs at {mask.count('1')} of 12 steps" in printed.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--threshold", "0.1"], "--size: no polynomial is known for 2 blocks"),
        (["--threshold", "-1", "--size", "14B"], "--threshold: expected at least 0, got -1.0"),
        (["--threshold", "1", "--size", "14B", "--steps", "1"], "--steps: expected at least 2, got 1"),
    ],
)
def test_refuses_by_name(
    folder: Path, run: Callable[..., None], arguments: list[str], words: str
) -> None:
    with pytest.raises(SystemExit, match=words):
        run(folder, *arguments)


def test_refuses_other_folders(tmp_path: Path, run: Callable[..., None]) -> None:
    with pytest.raises(SystemExit, match="cannot be read as JSON"):
        run(tmp_path, "--threshold", 1)
    with pytest.raises(SystemExit, match="expected a Wan transformer"):
        run(saved("flux", tmp_path), "--threshold", 1)
