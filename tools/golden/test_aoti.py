"""A compiled package runs behind the same interface as the other backends.

Packages are tied to a processor and a torch, so none is stored: this compiles a tiny one, writes a bundle
around it and hands it to the C++ tests and to the glint program. Each part skips, with the reason, if its
program is not built.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from modules import CHANNELS, POOLED_DIM, TOKEN_DIM, Denoiser, seeded
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools/export"))

from glint_export.archives import call_our_attention  # noqa: E402

LENGTH = 5


def program(name: str, variable: str) -> Path:
    """The newest ordinary build of a program, or the one the environment variable names.

    Sanitizer builds are left out: libgomp is not instrumented, so ThreadSanitizer sees races in every
    parallel kernel.
    """
    if variable in os.environ:
        return Path(os.environ[variable])
    built = [ROOT / "build" / preset / name for preset in ("dev", "release")]
    built = [path for path in built if path.is_file() and os.access(path, os.X_OK)]
    if not built:
        pytest.skip(f"{name} is built neither in build/dev nor in build/release")
    return max(built, key=lambda path: path.stat().st_mtime)


def refused(status: int, *command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stderr


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("g++") and not shutil.which("clang++"):
        pytest.skip("AOTInductor needs a C++ compiler")
    folder = tmp_path_factory.mktemp("aoti-bundle")
    batch, height, width, length = (
        torch.export.Dim(n, min=1, max=256) for n in ("batch", "height", "width", "length")
    )
    example = tuple(map(torch.zeros, ((2, CHANNELS, 8, 8), (2,), (2, LENGTH, TOKEN_DIM), (2, POOLED_DIM))))
    shapes = ({0: batch, 2: height, 3: width}, {0: batch}, {0: batch, 1: length}, {0: batch})
    exported = torch.export.export(seeded(Denoiser(), 1), example, dynamic_shapes=shapes)
    torch.ops.load_library(program("libglint_ops.so", "GLINT_OPS"))
    call_our_attention(exported)
    # Linked with libtorch.so a package drags in the CUDA libraries, which a CPU set-up does not have.
    torch._inductor.config.aot_inductor.link_libtorch = False
    package = Path(
        torch._inductor.aoti_compile_and_package(exported, package_path=str(folder / "denoiser.pt2"))
    )
    digest = hashlib.sha256(package.read_bytes()).hexdigest()
    denoiser = {
        "file": package.name,
        "backend": "aoti",
        "sha256": digest,
        "inputs": ["latents", "time", "tokens", "pooled"],
        "time": "unit",
    }
    manifest = {
        "format": 1,
        "name": "tiny-aoti",
        "family": "tensor",
        "parameterization": "velocity",
        "schedule": {"kind": "flow", "shift": 1.0},
        "latent": {"channels": CHANNELS, "height": 8, "width": 8},
        "components": {"denoiser": denoiser},
    }
    (folder / "model.json").write_text(json.dumps(manifest))
    return folder


def test_module_gives_the_expected_outputs(bundle: Path) -> None:
    tests = program("tests/glint_tests", "GLINT_TEST_PROGRAM")
    said = run(tests, "[aoti]", "-w", "NoTests", GLINT_AOTI_PACKAGE=str(bundle / "denoiser.pt2"))
    assert "All tests passed" in said


def test_program_inspects_the_bundle(bundle: Path) -> None:
    assert "aoti" in run(program("glint", "GLINT_PROGRAM"), "inspect", bundle)


def test_program_generates_with_the_package(bundle: Path, tmp_path: Path) -> None:
    glint = program("glint", "GLINT_PROGRAM")
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(1, CHANNELS, 8, 8, generator=generator)
    tokens = torch.randn(LENGTH, TOKEN_DIM, generator=generator)
    pooled = torch.randn(POOLED_DIM, generator=generator)
    save_file({"noise": noise}, tmp_path / "noise.safetensors")
    save_file({"tokens": tokens, "pooled": pooled}, tmp_path / "conditioning.safetensors")
    latents = tmp_path / "latents.safetensors"
    run(
        glint, "generate", "--model", bundle, "--cond-in", tmp_path / "conditioning.safetensors",
        "--noise-in", tmp_path / "noise.safetensors", "--steps", "1", "--guidance", "1", "--solver",
        "flow-euler", "--latents-out", latents, "--quiet", "--with", "pisa:first_dense_layers=0,min_tokens=1",
    )  # fmt: skip
    # One Euler step from pure noise to data. One block of keys: PISA computes what dense attention does.
    velocity = seeded(Denoiser(), 1)(noise, torch.ones(1), tokens[None], pooled[None])
    torch.testing.assert_close(load_file(latents)["latents"], noise - velocity, rtol=1e-4, atol=1e-4)


def test_host_that_shows_no_symbols_runs_the_package(bundle: Path) -> None:
    """A plug-in's library is loaded with RTLD_LOCAL: others do not see what it brings."""
    library = program("libglint_c.so", "GLINT_C_LIBRARY")
    host = program("tests/capi/glint_c_local_host", "GLINT_LOCAL_HOST")
    sizes = (LENGTH, TOKEN_DIM, POOLED_DIM, CHANNELS, 8, 8)
    made = [float(line) for line in run(host, library, bundle, *map(str, sizes)).splitlines()]

    def ramp(*sizes: int) -> torch.Tensor:
        count = math.prod(sizes)
        return (torch.arange(count) / count - 0.5).reshape(sizes)

    noise = ramp(1, CHANNELS, 8, 8)
    velocity = seeded(Denoiser(), 1)(noise, torch.ones(1), ramp(1, LENGTH, TOKEN_DIM), ramp(1, POOLED_DIM))
    # One Euler step; compiled code rounds differently.
    torch.testing.assert_close(torch.tensor(made), (noise - velocity).flatten(), rtol=1e-4, atol=1e-4)


def test_adapters_and_another_torch_are_refused(bundle: Path, tmp_path: Path) -> None:
    glint = program("glint", "GLINT_PROGRAM")
    conditioning, latents = tmp_path / "c.safetensors", tmp_path / "l.safetensors"
    save_file({"tokens": torch.zeros(LENGTH, TOKEN_DIM), "pooled": torch.zeros(POOLED_DIM)}, conditioning)
    style = tmp_path / "style.safetensors"
    save_file({"query.lora_A.weight": torch.ones(2, 8), "query.lora_B.weight": torch.ones(8, 2)}, style)
    asked = ("--cond-in", conditioning, "--steps", "1", "--latents-out", latents, "-q")
    said = refused(2, glint, "generate", "--model", bundle, *asked, "--lora", style)
    reason = "the weights of its aoti file are fixed"
    assert f"adapters.style: components.denoiser cannot have any: {reason}" in said
    other = shutil.copytree(bundle, tmp_path / "other")
    manifest = json.loads((other / "model.json").read_text()) | {"torch": "2.1.0"}
    (other / "model.json").write_text(json.dumps(manifest))
    said = refused(1, glint, "generate", "--model", other, *asked)
    assert "denoiser.pt2 was made with torch 2.1.0" in said
    assert "runs only with the torch that compiled it" in said
