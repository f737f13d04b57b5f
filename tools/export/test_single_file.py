"""Single files as diffusers' from_single_file reads them, without what it downloads."""

from __future__ import annotations

import gzip
import importlib
import inspect
import json
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import original_layouts as original
import pytest
import torch
from diffusers import DiffusionPipeline, FluxPipeline
from diffusers.loaders import single_file_model, single_file_utils
from glint_export import exporter, tokenizers
from glint_export.errors import ExportError
from glint_export.exporter import Options, describe, export_pipeline, load_source
from glint_export.parts import Part, Written
from glint_export.single_file import read_file
from safetensors.torch import load_file, save_file
from test_aoti import program, run
from torch import Tensor, nn

KINDS = ("sdxl", "flux-dev", "flux-schnell")
IGNORED = ("_name_or_path", "architectures", "dtype", "transformers_version", "norm_num_groups")
CONVERSION = "convert_flux_transformer_checkpoint_to_diffusers"


class Made:
    """A tiny pipeline, its folder and its file."""

    def __init__(self, kind: str, place: Path) -> None:
        if kind == "sdxl":
            self.pipe = original.sdxl_pipeline()
            self.tensors = original.sdxl_tensors(self.pipe)
        else:
            self.pipe = original.flux_pipeline(guided=kind == "flux-dev")
            self.tensors = original.flux_tensors(self.pipe, whole=kind == "flux-dev")
        self.folder, self.file = place / kind, place / f"{kind}-file.safetensors"
        self.pipe.save_pretrained(str(self.folder))
        original.saved(self.tensors, self.file)

    def options(self, out: Path) -> Options:
        return Options(self.file, out, components=(self.folder,))

    @cached_property
    def bundle(self) -> Path:
        out = self.folder.with_name(f"{self.folder.name}-bundle")
        export_pipeline(self.options(out))
        return out


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Made]:
    torch.set_num_threads(1)
    place, known = tmp_path_factory.mktemp("single"), {}
    return lambda kind: known.get(kind) or known.setdefault(kind, Made(kind, place))


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Diffusers' conversion of FLUX for tiny ones: the released model's width stands in its code."""
    source = inspect.getsource(getattr(single_file_utils, CONVERSION))
    assert source.count("inner_dim = 3072") == 1
    scope = dict(vars(single_file_utils))
    exec(source.replace("inner_dim = 3072", f"inner_dim = {original.WIDTH}"), scope)
    entry = single_file_model.SINGLE_FILE_LOADABLE_CLASSES["FluxTransformer2DModel"]
    monkeypatch.setitem(entry, "checkpoint_mapping_fn", scope[CONVERSION])


def diffusers_own(m: Made) -> DiffusionPipeline:
    """What from_single_file makes of the file, the released configurations being the tiny pipeline's."""
    kind = type(m.pipe)
    rest = {}
    if not any(name.startswith("vae.") for name in m.tensors) and kind is FluxPipeline:
        rest = {name: getattr(m.pipe, name) for name in ("vae", "text_encoder", "text_encoder_2")}
    pipe = kind.from_single_file(str(m.file), config=str(m.folder), local_files_only=True, **rest)
    pipe.set_progress_bar_config(disable=True)
    for network in pipe.components.values():  # T5 is left in training mode, where it drops values
        if isinstance(network, nn.Module):
            network.eval()
    return pipe


def configuration(network: nn.Module) -> dict[str, object]:
    config = network.config if isinstance(network.config, dict) else network.config.to_dict()
    return {name: list(value) if isinstance(value, tuple) else value for name, value in config.items()
            if not name.startswith("_") and name not in IGNORED}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_configurations_are_those_of_from_single_file(
    made: Callable[[str], Made], narrow: None, kind: str
) -> None:
    m = made(kind)
    ours = load_source(read_file(m.file, (m.folder,)), torch.float32, "cpu")
    theirs = diffusers_own(m)
    assert type(ours) is type(theirs)
    assert type(ours.scheduler) is type(theirs.scheduler)
    for name, network in theirs.components.items():
        if isinstance(network, nn.Module):
            expected, found = network.state_dict(), getattr(ours, name).state_dict()
            assert expected.keys() == found.keys()
            assert all(torch.equal(found[key], expected[key]) for key in expected), name
            assert configuration(getattr(ours, name)) == configuration(network), name


@pytest.mark.parametrize("kind", KINDS)
def test_settings_are_those_of_the_folder(made: Callable[[str], Made], tmp_path: Path, kind: str) -> None:
    def settings(options: Options) -> list[str]:
        return [line for line in describe(options).splitlines() if '"' in line or "default_steps" in line]

    m = made(kind)
    ours = settings(m.options(tmp_path))
    assert len(ours) == 5 and ours == settings(Options(m.folder, tmp_path))


@pytest.mark.parametrize("kind", ("sdxl", "flux-dev"))
def test_bundle_is_that_of_the_folder(
    made: Callable[[str], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """In its manifest and in the networks that are traced. The traces number their classes over a process."""
    m, manifests, weights = made(kind), [], []

    def kept(part: Part, out: Path, *_: object) -> Written:
        state = {f"{part.name}.{name}": value for name, value in part.module.state_dict().items()}
        weights[-1] |= {name: value.clone() for name, value in state.items()}
        return Written(out / f"{part.name}.pt", "", torch.float32, {"inputs": part.module.inputs}, [])

    monkeypatch.setattr(exporter, "write", kept)
    monkeypatch.setattr(exporter, "check", lambda written: None)
    for options in (m.options(tmp_path), Options(m.folder, tmp_path)):
        weights.append({})
        export_pipeline(options)
        manifests.append(json.loads((tmp_path / "model.json").read_text()))
    ours, theirs = manifests
    assert ours.pop("name") == f"{kind}-file" and theirs.pop("name") == kind
    assert ours == theirs
    assert len(weights[0]) > 200 and weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


@pytest.mark.parametrize("kind", ("sdxl", "flux-dev"))
@torch.no_grad()
def test_whole_run_is_that_of_diffusers_pipeline(
    made: Callable[[str], Made], narrow: None, tmp_path: Path, kind: str
) -> None:
    glint, m = program("glint", "GLINT_PROGRAM"), made(kind)
    prompt, file = "a small golden fox in the snow", tmp_path / "trajectory.safetensors"
    run(
        glint, "generate", prompt, "-m", m.bundle, "--steps", "6", "-q",
        "--height", "32", "--width", "48", "-o", tmp_path / "picture.png", "--trajectory-out", file,
    )  # fmt: skip
    noise, *_, ours = load_file(file)["trajectory"]
    pipe, packs = diffusers_own(m), kind != "sdxl"
    options = {"num_inference_steps": 6, "height": 32, "width": 48, "output_type": "latent"}
    start = FluxPipeline._pack_latents(noise, *noise.shape) if packs else noise
    theirs = pipe(prompt, latents=start, guidance_scale=3.5 if packs else 5.0, **options).images
    if packs:
        theirs = FluxPipeline._unpack_latents(theirs, 32, 48, pipe.vae_scale_factor)
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()


def refusal(path: Path, *components: Path) -> str:
    with pytest.raises(ExportError) as caught:
        describe(Options(path, path.parent / "out", components=components))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed(m: Made, path: Path, without: str = "\0", **changes: Tensor) -> Path:
    kept = {name: tensor for name, tensor in m.tensors.items() if not name.startswith(without)}
    return original.saved(kept | changes, path)


def test_check_says_what_a_file_holds(made: Callable[[str], Made], tmp_path: Path) -> None:
    m = made("sdxl")
    told = describe(m.options(tmp_path))
    assert "sdxl-file.safetensors: StableDiffusionXLPipeline, becomes a bundle of family sdxl" in told
    assert "unet: UNet2DConditionModel" in told and 'default_solver: "euler"' in told
    assert "not read" not in told
    inside = "model.diffusion_model.input_blocks.1.2.weight"
    extra = {"extra.weight": torch.zeros(1), inside: torch.zeros(1), "model_ema.decay": torch.zeros(1)}
    more = changed(m, tmp_path / "more.safetensors", **extra)
    told = describe(Options(more, tmp_path, components=(m.folder,)))
    assert f"not read: 2 tensors, such as extra.weight, {inside}" in told
    predicts_v = changed(m, tmp_path / "v.safetensors", v_pred=torch.zeros(0), ztsnr=torch.zeros(0))
    told = describe(Options(predicts_v, tmp_path, components=(m.folder,)))
    assert 'parameterization: "v"' in told and '"zero_terminal_snr": true' in told
    assert list(tmp_path.glob("out*")) == []


def test_other_files_are_refused_by_name_before_weights_are_read(
    made: Callable[[str], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "loaded", lambda *_: pytest.fail("weights were loaded"))
    sdxl, flux = made("sdxl"), made("flux-dev")
    unet, file = "model.diffusion_model.", tmp_path / "x.safetensors"
    first = f"{unet}input_blocks.0.0.weight"
    nine = torch.zeros(32, 9, 3, 3)
    assert "xl_inpaint, SDXL's inpainting model" in refusal(changed(sdxl, file, **{first: nine}), sdxl.folder)
    encoders = "conditioner.embedders."
    refiner = "conditioner.embedders.0.model.transformer.resblocks.9.mlp.c_proj.bias"
    told = refusal(changed(sdxl, file, encoders, **{refiner: torch.zeros(1)}))
    assert "xl_refiner, SDXL's refiner" in told
    assert "v1, Stable Diffusion 1, or none that is known" in refusal(changed(sdxl, file, encoders))
    assert "EDM's v-prediction" in refusal(changed(sdxl, file, **{"edm_vpred.sigma_max": torch.zeros(1)}))
    wide = torch.zeros(original.WIDTH, 384)
    told = refusal(changed(flux, file, **{f"{unet}img_in.weight": wide}))
    assert "flux-fill, FLUX.1 Fill" in told
    told = refusal(changed(flux, file, f"{unet}double_blocks.1.img_mlp.0"), flux.folder)
    assert "transformer: 2 weights of FluxTransformer2DModel are missing, among them" in told
    assert "transformer_blocks.1.ff.net.0.proj.bias" in told
    told = refusal(changed(flux, file, **{f"{unet}img_in.bias": torch.zeros(3)}), flux.folder)
    assert told.endswith("x_embedder.bias has the shape (3,) instead of (64,)")
    told = refusal(changed(flux, file, **{f"{unet}other.bias": torch.zeros(3)}), flux.folder)
    assert "1 weights are none of FluxTransformer2DModel's, among them other.bias" in told
    scale = {f"{unet}img_in.scale_weight": torch.zeros(1)}
    assert "quantised weights with scales" in refusal(changed(flux, file, **scale))
    file.write_bytes(flux.file.read_bytes()[:-5])
    assert "it may be cut short" in refusal(file)
    assert "expected a .safetensors file" in refusal(Path(__file__))


def test_what_a_file_lacks_is_named(
    made: Callable[[str], Made], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("glint_export.single_file.clip_vocabulary", lambda: None)
    m = made("flux-schnell")
    told = refusal(m.file)
    assert "without vae, text_encoder, text_encoder_2, tokenizer, tokenizer_2; --components names" in told
    assert "the package open_clip_torch has CLIP's vocabulary" in told
    assert "no such folder" in refusal(m.file, tmp_path / "none")
    with pytest.raises(ExportError, match="--components is for single files"):
        describe(Options(m.folder, tmp_path, components=(m.folder,)))


def test_half_precision_and_eight_bit_floats_are_widened(
    made: Callable[[str], Made], tmp_path: Path
) -> None:
    m = made("flux-dev")
    for dtype in (torch.float16, torch.bfloat16, torch.float8_e4m3fn):
        file = tmp_path / "narrow.safetensors"
        save_file({name: tensor.to(dtype).contiguous() for name, tensor in m.tensors.items()}, file)
        pipe = load_source(read_file(file, (m.folder,)), torch.float32, "cpu")
        weight = pipe.transformer.x_embedder.weight
        assert weight.dtype == torch.float32
        assert torch.equal(weight, m.pipe.transformer.x_embedder.weight.to(dtype).float())


def test_clip_vocabulary_of_the_package_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a vocabulary of the same form, since the package is not among the pins."""
    package = tmp_path / "open_clip"
    package.mkdir()
    (package / "__init__.py").write_text("raise ImportError('it is read, not imported')\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    symbols = tokenizers.byte_symbols()
    pairs = [f"{a} {b}" for a in symbols for b in symbols]
    lines = ["#version: 0.2", *pairs[: tokenizers.CLIP_WORDS - 514], "past it"]
    (package / "bpe_simple_vocab_16e6.txt.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    tokenizer = tokenizers.clip_tokenizer(tokenizers.clip_vocabulary(), "!")
    assert len(tokenizer) == tokenizers.CLIP_WORDS
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (49406, 49407)
    assert tokenizer.pad_token_id == 0
