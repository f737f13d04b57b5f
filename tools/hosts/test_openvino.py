"""The example that lets OpenVINO run a bundle's network gives the latents of the bundle's own run."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy
import pytest
import torch
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models/emoji-flow"
STEPS, SEED = 8, 5

openvino = pytest.importorskip("openvino", reason="OpenVINO's wheel is not installed")


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, built with the light core alone."""
    build = tmp_path_factory.mktemp("openvino-build")
    package = Path(openvino.__file__).parent
    run(
        "cmake", "-S", ROOT, "-B", build, "-G", "Ninja", "-DGLINT_CORE_ONLY=ON", "-DGLINT_C=OFF",
        "-DGLINT_WERROR=OFF", f"-DGLINT_OPENVINO_ROOT={package}",
    )  # fmt: skip
    run("cmake", "--build", build, "--target", "openvino_model")
    return build / "examples/openvino_model"


@pytest.fixture(scope="module")
def prompts() -> dict[str, torch.Tensor]:
    """The embeddings of a prompt and of the null prompt."""
    tokenizer = json.loads((MODEL / "tokenizer.json").read_text())
    encoder = torch.jit.load(MODEL / "text_encoder.pt").float()
    embeddings = {}
    for prefix, words in {"": ("red", "apple"), "null_": ()}.items():
        ids = torch.full((1, tokenizer["max_tokens"]), tokenizer["pad"])
        for i, word in enumerate(words):
            ids[0, i] = tokenizer["words"][word]
        tokens, pooled = encoder(ids)
        embeddings |= {prefix + "tokens": tokens[0].contiguous(), prefix + "pooled": pooled[0].contiguous()}
    return {name: tensor.detach() for name, tensor in embeddings.items()}


def converted(folder: Path, prompts: dict[str, torch.Tensor]) -> Path:
    """The bundle's denoiser as OpenVINO stores it, for any batch."""
    sizes = [(4, 16, 16), (), tuple(prompts["tokens"].shape), tuple(prompts["pooled"].shape)]
    network = torch.jit.load(MODEL / "denoiser.pt").float().eval()
    example = tuple(torch.zeros(2, *size) for size in sizes)
    model = openvino.convert_model(network, example_input=example)
    model.reshape({i: openvino.PartialShape([-1, *size]) for i, size in enumerate(sizes)})
    file = folder / "denoiser.xml"
    openvino.save_model(model, file, compress_to_fp16=False)
    return file


def test_latents_are_those_of_the_bundle(
    example: Path, prompts: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    built = [ROOT / "build" / preset / "glint" for preset in ("dev", "release")]
    glint = os.environ.get("GLINT_PROGRAM") or next((path for path in built if path.is_file()), None)
    if not glint:
        pytest.skip("glint is built neither in build/dev nor in build/release")
    network = converted(tmp_path, prompts)
    order = ("tokens", "pooled", "null_tokens", "null_pooled")
    numbers = numpy.concatenate([prompts[name].numpy().ravel() for name in order])
    numbers.astype("<f4").tofile(tmp_path / "prompt.f32")
    said = run(example, network, tmp_path / "prompt.f32", tmp_path / "made.f32", str(SEED), str(STEPS))
    made = torch.from_numpy(numpy.fromfile(tmp_path / "made.f32", "<f4")).reshape(1, 4, 16, 16)

    save_file(prompts, tmp_path / "prompt.safetensors")
    run(
        glint, "generate", "--model", MODEL, "--cond-in", tmp_path / "prompt.safetensors", "--seed",
        str(SEED), "--steps", str(STEPS), "--solver", "flow-euler", "--guidance", "3", "--with", "z-sampling",
        "--latents-out", tmp_path / "expected.safetensors", "-o", tmp_path / "apple.png", "--quiet",
    )  # fmt: skip
    expected = load_file(tmp_path / "expected.safetensors")["latents"]
    # Z-Sampling: two rows a step, and two and one more at every step but the last.
    assert said == f"{STEPS} steps, {2 * STEPS + 3 * (STEPS - 1)} rows\n"
    # The two runtimes round differently in each of the calls: 1e-6 relative, grown by the solver.
    torch.testing.assert_close(made, expected, rtol=1e-4, atol=1e-4)
    assert expected.std() > 0.1


def test_what_does_not_fit_is_refused(
    example: Path, prompts: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    network = converted(tmp_path, prompts)
    (tmp_path / "short.f32").write_bytes(b"\0" * 64)
    for arguments, reason in {
        (): "usage: openvino_model",
        (network, tmp_path / "short.f32", tmp_path / "x"): "the prompt's file is too short for this network",
        (tmp_path / "none.xml", tmp_path / "short.f32", tmp_path / "x"): "none.xml",
    }.items():
        done = subprocess.run([example, *arguments], capture_output=True, text=True, timeout=120)
        assert done.returncode != 0
        assert reason in done.stderr
