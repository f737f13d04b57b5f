"""Exports of the tiny pipelines: complete bundles, refusals, golden files still what diffusers gives."""

from __future__ import annotations

import json
import re
import shutil
import tracemalloc
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from adapters import FAMILIES as ADAPTED
from adapters import outputs
from families import CASES, noise_of, run, token_ids
from glint_export import archives
from glint_export.errors import ExportError
from glint_export.exporter import Options, export_pipeline, load_pipeline, write_bundle
from prompts import PROMPTS
from reflections import cases
from safetensors.torch import load_file

DATA = Path(__file__).parents[2] / "tests/data/families"
FAMILIES = tuple(CASES)


@pytest.fixture(scope="session")
def bundles(sources: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bundles")
    for family, source in sources.items():
        export_pipeline(Options(source, folder / family))
    return {family: folder / family for family in sources}


def manifest(bundle: Path) -> dict:
    return json.loads((bundle / "model.json").read_text())


@pytest.mark.parametrize("family", (*FAMILIES, "flux-schnell"))
def test_bundle_is_complete_and_hashed(bundles: dict[str, Path], family: str) -> None:
    content = manifest(bundles[family])
    assert content["family"] == family.split("-")[0]
    for name, entry in content["components"].items():
        assert archives.sha256(bundles[family] / entry["file"]) == entry["sha256"], name
    files = {entry["file"] for entry in content["components"].values()} | {"model.json"}
    assert {path.name for path in bundles[family].iterdir()} == files
    embedded = "guidance" in content["components"]["denoiser"]["inputs"]
    assert content["guidance"]["embedded"] == embedded == (family == "flux")


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_keep_the_names_lora_files_use(
    bundles: dict[str, Path], sources: dict[str, Path], family: str
) -> None:
    pipe = load_pipeline(sources[family], torch.float32, "cpu")
    attribute = "unet" if family == "sdxl" else "transformer"
    stored = dict(torch.jit.load(str(bundles[family] / "denoiser.pt")).named_parameters())
    expected = {f"{attribute}.{name}": value for name, value in getattr(pipe, attribute).named_parameters()}
    assert stored.keys() == expected.keys()
    assert all(torch.equal(stored[name], expected[name]) for name in expected)


def test_no_network_is_in_memory_twice(
    sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = load_pipeline(sources["sdxl"], torch.float32, "cpu")
    networks = {
        name: weakref.ref(getattr(pipe, name)) for name in ("text_encoder", "text_encoder_2", "unet", "vae")
    }
    load, alive = archives.load, {}

    def watched(path: Path, backend: str) -> torch.nn.Module:
        alive[path.stem] = {name for name, network in networks.items() if network() is not None}
        return load(path, backend)

    monkeypatch.setattr(archives, "load", watched)
    write_bundle(pipe, Options(sources["sdxl"], tmp_path))
    assert alive["text_encoder"] == {"text_encoder_2", "unet", "vae"}
    assert alive["denoiser"] == alive["vae_decoder"] == {"vae"}
    assert alive["vae_encoder"] == set()


@pytest.mark.parametrize("family", FAMILIES)
def test_no_file_names_a_source_path(bundles: dict[str, Path], family: str) -> None:
    for path in bundles[family].iterdir():
        found = re.search(rb"/(home|opt|root|tmp|usr|work)/|site-packages|debug_pkl", path.read_bytes())
        assert not found, f"{path.name}: {found}"


@torch.no_grad()
def test_steps_of_the_video_vae_chain(bundles: dict[str, Path], sources: dict[str, Path]) -> None:
    vae = load_pipeline(sources["wan"], torch.float32, "cpu").vae
    shape = (1, -1, 1, 1, 1)
    mean, deviation = (torch.tensor(vae.config[name]).view(shape) for name in ("latents_mean", "latents_std"))
    video, latents = torch.randn(1, 3, 13, 16, 24), torch.randn(1, 16, 4, 2, 3)
    for name, whole, chunks, expected in (
        ("vae_decoder", latents, [1, 1, 1, 1], vae.decode(latents * deviation + mean).sample),
        ("vae_encoder", video, [1, 4, 4, 4], (vae.encode(video).latent_dist.mode() - mean) / deviation),
    ):
        first, later = (torch.jit.load(str(bundles["wan"] / f"{name}{end}.pt")) for end in ("", "_next"))
        start, *rest = whole.split(chunks, dim=2)
        part, *states = first(start)
        parts = [part]
        for frames in rest:
            part, *states = later(frames, *states)
            parts.append(part)
        joined = torch.cat(parts, dim=2)
        if name == "vae_decoder":  # the caller's part
            joined = joined.clamp(-1.0, 1.0)
        torch.testing.assert_close(joined, expected, rtol=1e-5, atol=1e-5)


def test_token_order_changes_nothing_but_rounding(bundles: dict[str, Path]) -> None:
    denoiser = torch.jit.load(str(bundles["wan"] / "denoiser.pt"))
    x, tokens, time = torch.randn(1, 16, 2, 8, 6), torch.randn(1, 9, 32), torch.tensor([500.0])
    plain = denoiser(x, time, tokens, torch.arange(24))
    torch.testing.assert_close(denoiser(x, time, tokens, torch.randperm(24)), plain, rtol=1e-5, atol=1e-5)


def test_writing_a_program_copies_a_weight_at_a_time(tmp_path: Path) -> None:
    layers = [torch.nn.Linear(512, 512) for _ in range(8)]
    network = torch.nn.Sequential(*layers).requires_grad_(False)
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    x = torch.randn(2, 512)
    archives.write(network, (x,), None, tmp_path / "warm.pt2", "pt2")
    tracemalloc.start()
    archives.write(network, (x,), None, tmp_path / "x.pt2", "pt2")
    _, peak = tracemalloc.get_traced_memory()  # of Python's bytes, which is what the writer copies to
    tracemalloc.stop()
    assert peak < weights / 2
    torch.testing.assert_close(archives.load(tmp_path / "x.pt2", "pt2")(x), network(x), rtol=0, atol=0)


def test_exported_program_of_a_denoiser_equals_the_traced_one(bundles: dict[str, Path]) -> None:
    program = torch.export.load(str(DATA / "flux/denoiser.pt2")).module()
    traced = torch.jit.load(str(bundles["flux"] / "denoiser.pt"))
    inputs = (
        torch.randn(1, 16, 6, 10), torch.tensor([400.0]), torch.randn(1, 11, 32), torch.randn(1, 32),
        torch.tensor([2.0]), torch.randperm(15),
    )  # fmt: skip
    torch.testing.assert_close(program(*inputs), traced(*inputs), rtol=1e-5, atol=1e-5)


def test_half_precision_is_computed_in(
    sources: dict[str, Path], tmp_path: Path, only: Callable[..., None]
) -> None:
    only("denoiser")
    export_pipeline(Options(sources["flux"], tmp_path, dtype="bfloat16"))
    entry = manifest(tmp_path)["components"]["denoiser"]
    assert entry["compute"] == "bfloat16"
    weights = torch.jit.load(str(tmp_path / entry["file"])).parameters()
    assert {weight.dtype for weight in weights} == {torch.bfloat16}


def test_weak_denoiser_is_of_the_other_pipeline(
    sources: dict[str, Path], tmp_path: Path, only: Callable[..., None]
) -> None:
    only("denoiser", "weak_denoiser")
    other = shutil.copytree(sources["sdxl"], tmp_path / "other")
    pipe = load_pipeline(other, torch.float32, "cpu")
    pipe.unet.conv_out.weight.mul_(2)
    pipe.unet.save_pretrained(other / "unet")
    export_pipeline(Options(sources["sdxl"], tmp_path / "out", weak=other))
    strong, weak = (
        torch.jit.load(str(tmp_path / "out" / f"{name}.pt")) for name in ("denoiser", "weak_denoiser")
    )
    assert torch.equal(weak.unet.conv_out.weight, 2 * strong.unet.conv_out.weight)
    assert manifest(tmp_path / "out")["components"]["weak_denoiser"]["inputs"][0] == "latents"


def test_refusals_say_what_is_wrong(sources: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="there is no model_index.json"):
        export_pipeline(Options(tmp_path, tmp_path / "out"))
    with pytest.raises(ExportError, match="a flux model beside a sdxl model"):
        export_pipeline(Options(sources["sdxl"], tmp_path / "out", weak=sources["flux"]))
    with pytest.raises(ExportError, match="--ops is for compiled packages"):
        export_pipeline(Options(sources["sdxl"], tmp_path / "out", ops=tmp_path / "libglint_ops.so"))
    with pytest.raises(ExportError, match="libglint_ops.so: no such library"):
        export_pipeline(
            Options(sources["sdxl"], tmp_path / "out", backend="aoti", ops=tmp_path / "libglint_ops.so")
        )
    broken = shutil.copytree(sources["sdxl"], tmp_path / "broken")
    shutil.rmtree(broken / "vae")
    with pytest.raises(ExportError, match="the folder vae is missing"):
        export_pipeline(Options(broken, tmp_path / "out"))
    index = json.loads((broken / "model_index.json").read_text())
    (broken / "model_index.json").write_text(json.dumps(index | {"_class_name": "KandinskyPipeline"}))
    with pytest.raises(
        ExportError, match="KandinskyPipeline is not supported; known are StableDiffusionXLPipeline"
    ):
        export_pipeline(Options(broken, tmp_path / "out"))
    assert not (tmp_path / "out/model.json").exists()


def test_a_file_that_differs_is_noticed(
    sources: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only: Callable[..., None]
) -> None:
    only("denoiser")
    load = archives.load

    def damaged(path: Path, backend: str) -> torch.nn.Module:
        module = load(path, backend)
        if path.name == "denoiser.pt":
            module.transformer.proj_out.bias.add_(1e-3)
        return module

    monkeypatch.setattr(archives, "load", damaged)
    with (
        torch.no_grad(),
        pytest.raises(ExportError, match="denoiser.pt: output 0 .* differs from the original"),
    ):
        export_pipeline(Options(sources["wan"], tmp_path))


def test_stored_token_ids_are_todays(sources: dict[str, Path]) -> None:
    pipes = {family: load_pipeline(sources[family], torch.float32, "cpu") for family in FAMILIES}
    stored = load_file(DATA / "ids.safetensors")
    assert all(torch.equal(stored[name], ids) for name, ids in token_ids(pipes).items())
    assert json.loads((DATA / "prompts.json").read_text(encoding="utf-8")) == PROMPTS


@pytest.mark.parametrize("family", FAMILIES)
def test_stored_runs_are_todays(sources: dict[str, Path], family: str) -> None:
    """One run of each family in float64, which the stored latents are rounded from."""
    pipe = load_pipeline(sources[family], torch.float32, "cpu")
    stored = load_file(DATA / family / "golden.safetensors")
    pipe.set_progress_bar_config(disable=True)
    pipe.to(torch.float64)
    case = CASES[family]()[0]
    noise = noise_of(pipe, case, 100)
    assert torch.equal(noise, stored[f"{case.name}.noise"])
    more = {"sdxl": {}, "sd3": {"max_sequence_length": 256}}.get(family, {"max_sequence_length": 512})
    latents = run(pipe, pipe.scheduler.config, case, noise, **more).float()
    torch.testing.assert_close(latents, stored[f"{case.name}.latents"], rtol=0, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("family", ADAPTED)
def test_stored_adapter_outputs_are_todays(sources: dict[str, Path], family: str) -> None:
    stored = load_file(DATA / family / "lora.safetensors")
    for name, value in outputs(family, sources[family], DATA / family).items():
        torch.testing.assert_close(value, stored[name], rtol=0, atol=1e-5)


def test_stored_reflections_are_todays(sources: dict[str, Path]) -> None:
    tensors, told = cases(sources, {family: DATA / family for family in ADAPTED})
    stored = load_file(DATA / "reflections.safetensors")
    assert tensors.keys() == stored.keys()
    # Latents of the legacy modes reach 70.
    for name, value in tensors.items():
        torch.testing.assert_close(value, stored[name], rtol=1e-5, atol=1e-4, msg=name)
    assert json.loads((DATA / "reflections.json").read_text()) == told
