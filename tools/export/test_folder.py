"""What the exporter says about a folder before it loads weights, and what it makes of the user's options."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import diffusers
import pytest
import torch
from diffusers import SD3Transformer2DModel, UNet2DConditionModel
from families import CASES
from glint_export import exporter
from glint_export.errors import ExportError
from glint_export.exporter import Options, describe, export_pipeline, load_pipeline
from glint_export.folder import UNUSED
from glint_export.perturbed import parse, perturbed

EXPORT = Path(__file__).parent


@pytest.fixture
def folder(sources: dict[str, Path], tmp_path: Path) -> Callable[[str], Path]:
    """A copy of a pipeline's folder to damage."""
    return lambda family: shutil.copytree(sources[family], tmp_path / family)


def change(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(ExportError) as caught:
        describe(Options(path, path / "out", **options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def run(*calls: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """The program, several times in one process, since it takes long to start; prints each status."""
    code = "import sys; from glint_export.__main__ import main\nfor sys.argv in {}: print('status', main())"
    command = [sys.executable, "-c", code.format([["glint_export", *call] for call in calls])]
    return subprocess.run(command, cwd=EXPORT, capture_output=True, text=True)


def test_check_says_what_would_be_exported_and_writes_nothing(
    sources: dict[str, Path], tmp_path: Path
) -> None:
    defaults = ("--steps", "4", "--guidance", "1", "--solver", "euler-ancestral")
    told = run((str(sources["sdxl"]), "--check", *defaults), (str(tmp_path), "--check"))
    assert re.findall("status .", told.stdout) == ["status 0", "status 1"], told.stderr
    assert "becomes a bundle of family sdxl" in told.stdout
    assert "default_steps: 4" in told.stdout and '"default": 1.0' in told.stdout
    assert 'default_solver: "euler-ancestral"' in told.stdout
    assert "unet: UNet2DConditionModel" in told.stdout
    assert told.stderr.count("\n") == 1 and "there is no model_index.json" in told.stderr
    assert list(tmp_path.iterdir()) == []


def test_another_solver_leaves_out_the_schedulers_filters() -> None:
    manifest = {"default_solver": "dpmpp-2m", "default_filters": ["threshold:ratio=0.9,max=2"], "x": 1}
    here = Path()
    assert exporter.chosen(manifest, Options(here, here)) == manifest
    changed = exporter.chosen(manifest, Options(here, here, solver="euler"))
    assert changed == {"default_solver": "euler", "x": 1}


def test_nothing_is_loaded_before_a_refusal(
    folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder("wan")
    change(path / "model_index.json", expand_timesteps=True)
    monkeypatch.setattr(exporter, "loaded", lambda *_: pytest.fail("weights were loaded"))
    with pytest.raises(ExportError, match="expand_timesteps = True is not supported"):
        export_pipeline(Options(path, path / "out"))


def test_damaged_folders_are_named_in_one_line(folder: Callable[[str], Path]) -> None:
    path = folder("sdxl")
    weights = path / "unet/diffusion_pytorch_model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    assert "diffusion_pytorch_model.safetensors: has" in refusal(path)
    weights.write_bytes(whole[:4])
    assert "cut short, or not a safetensors file" in refusal(path)
    weights.unlink()
    assert refusal(path).endswith("unet: no weights; found: none")
    weights.write_bytes(whole)
    change(path / "unet/config.json", in_channels=9)
    assert "in_channels = 9 is not supported" in refusal(path)
    assert refusal(path).endswith("beside latents of 4 channels: an inpainting model")
    change(path / "unet/config.json", in_channels=4)
    shutil.rmtree(path / "tokenizer")
    (path / "tokenizer").mkdir()
    assert "tokenizer: " in refusal(path)
    index = path / "model_index.json"
    change(index, unet=["pipeline", "MyUNet"])
    assert "custom code is not run" in refusal(path)
    change(index, _class_name=["pipeline", "MyPipeline"])
    assert "pipeline.MyPipeline is a community pipeline" in refusal(path)
    index.write_text(index.read_text()[:30])
    assert "cannot be read as JSON, it may be cut short" in refusal(path)


def test_missing_weights_of_a_whole_file_are_noticed(folder: Callable[[str], Path]) -> None:
    path = folder("sdxl")
    from safetensors.torch import load_file, save_file

    weights = path / "unet/diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    del tensors["conv_out.weight"]
    save_file(tensors, weights)
    with pytest.raises(ExportError, match="unet: 1 weights are missing, among them conv_out.weight"):
        load_pipeline(path, torch.float32, "cpu")


def test_folders_of_one_variant_need_no_option(folder: Callable[[str], Path]) -> None:
    path = folder("sdxl")
    for weights in path.glob("*/*.safetensors"):
        weights.rename(weights.with_name(weights.name.replace(".safetensors", ".fp16.safetensors")))
    assert "variant fp16" in describe(Options(path, path / "out"))
    assert "no weights of the variant ema; found: fp16" in refusal(path, variant="ema")
    assert isinstance(load_pipeline(path, torch.float32, "cpu").unet, UNet2DConditionModel)


def test_other_components_are_refused_by_class(folder: Callable[[str], Path]) -> None:
    path = folder("sdxl")
    change(path / "model_index.json", vae=["diffusers", "AutoencoderTiny"])
    assert "vae is of class AutoencoderTiny, supported is AutoencoderKL" in refusal(path)
    change(path / "model_index.json", vae=["diffusers", "AutoencoderKL"], text_encoder=[None, None])
    assert "text_encoder is missing; bundles without it are not supported" in refusal(path)


@pytest.mark.parametrize("name", exporter.FAMILIES)
def test_every_option_of_a_pipeline_is_in_a_table(name: str) -> None:
    """Its parameters that are no components, each carried, without effect or refused."""
    known = set(inspect.signature(getattr(diffusers, name).__init__).parameters) - {"self"}
    components = exporter.COMPONENTS[name].keys() | UNUSED.keys()
    assert known - components == set(exporter.PIPELINE_OPTIONS.get(name, {}))


@pytest.mark.parametrize(
    "family, option, value, told",
    [
        ("sdxl", "force_zeros_for_empty_prompt", True, '"zero_null": true'),
        ("sdxl", "force_zeros_for_empty_prompt", False, '"zero_null": false'),
        ("sdxl", "force_zeros_for_empty_prompt", "false", "'false' is not supported, only true or false"),
        ("sdxl", "add_watermarker", True, None),
        ("wan", "boundary_ratio", 0.9, "WanPipeline: boundary_ratio = 0.9 is not supported, only None"),
        ("wan", "expand_timesteps", True, "WanPipeline: expand_timesteps = True is not supported"),
    ],
)
def test_options_of_a_pipeline_are_carried_or_refused(
    folder: Callable[[str], Path], family: str, option: str, value: object, told: str | None
) -> None:
    path = folder(family)
    plain = describe(Options(path, path / "out"))
    change(path / "model_index.json", **{option: value})
    if told is None:
        assert describe(Options(path, path / "out")) == plain
    elif told.startswith('"'):
        assert told in describe(Options(path, path / "out"))
    else:
        assert told in refusal(path)


def fields_read(name: str) -> set[tuple[str, str]]:
    """What a pipeline looks up in the configurations of its networks: (component, field)."""
    found = set()
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(getattr(diffusers, name))))):
        place = None
        if isinstance(node, ast.Attribute):
            place = f"{ast.unparse(node.value)}.{node.attr}"
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("hasattr", "getattr"):
            place = f"{ast.unparse(node.args[0])}.{ast.literal_eval(node.args[1])}"
        if place and (match := re.fullmatch(r"self\.(\w+)\.config\.(\w+)", place)):
            found.add((match[1], match[2]))
    return found


@pytest.mark.parametrize("name", exporter.FAMILIES)
def test_every_field_that_a_pipeline_reads_is_in_a_table(name: str) -> None:
    read = {(part, field) for part, field in fields_read(name) if part not in ("scheduler", "transformer_2")}
    assert len(read) >= 5
    known = exporter.COMPONENT_FIELDS[name]
    assert {(part, field) for part, field in read if field not in known.get(part, {})} == set()


OTHER_NETWORKS = [
    ("sdxl", "unet", {"time_cond_proj_dim": 8}, "time_cond_proj_dim = 8 is not supported, only None"),
    ("sdxl", "unet", {"class_embed_type": "timestep"}, "class_embed_type = 'timestep' is not supported"),
    ("sdxl", "unet", {"addition_embed_type": "text"}, "addition_embed_type = 'text' is not supported"),
    ("sdxl", "unet", {"encoder_hid_dim_type": "image_proj", "encoder_hid_dim": 64},
     "encoder_hid_dim_type = 'image_proj' is not supported"),
    ("sdxl", "unet", {"sample_size": [16, 24]}, "sample_size = [16, 24] is not supported"),
    ("sdxl", "unet", {"out_channels": 8}, "prediction has the shape (2, 8, 8, 6), but the pipeline needs"),
    ("sdxl", "unet", {"cross_attention_dim": 48}, "tokens have a width of 64, but the pipeline needs 48"),
    ("sdxl", "unet", {"projection_class_embeddings_input_dim": 100},
     "pooled have a width of 32, but the pipeline needs 52"),
    ("sdxl", "unet", {"quantization_config": {"quant_method": "bitsandbytes"}},
     "quantization_config of bitsandbytes is not supported"),
    ("sdxl", "text_encoder", {"quantization_config": {"quant_method": "gptq"}}, "of gptq is not supported"),
    ("sdxl", "text_encoder", {"max_position_embeddings": 64},
     "max_position_embeddings = 64 is not supported beside a tokenizer of 77 tokens"),
    ("sdxl", "text_encoder", {"hidden_act": "nonsense"}, "CLIPTextModel cannot be made from its files"),
    ("sdxl", "text_encoder_2", {"projection_dim": 16}, "pooled have a width of 16"),
    ("sdxl", "vae", {"scaling_factor": None}, "scaling_factor = None is not supported, only a finite number"),
    ("sdxl", "vae", {"scaling_factor": "0.13"}, "scaling_factor = '0.13' is not supported"),
    ("sdxl", "vae", {"out_channels": 4}, "vae_decoder gives this many channels: 4"),
    ("sd3", "vae", {"shift_factor": None}, "shift_factor = None is not supported, only a finite number"),
    ("sd3", "transformer", {"pos_embed_max_size": None}, "pos_embed_max_size = None is not supported"),
    ("sd3", "transformer", {"patch_size": 1}, "patch_size = 1 is not supported, only 2"),
    ("sd3", "transformer", {"out_channels": 32}, "the denoiser cannot be called|prediction has the shape"),
    ("sd3", "transformer", {"pooled_projection_dim": 48}, "pooled have a width of 64"),
    ("sd3", "transformer", {"joint_attention_dim": 100}, "tokens have a width of 72"),
    ("flux", "transformer", {"in_channels": 32}, "the VAE's latents have this many channels: 16"),
    ("flux", "vae", {"latent_channels": 8}, "the VAE's latents have this many channels: 8"),
    ("wan", "transformer", {"image_dim": 16}, "image_dim = 16 is not supported, only None"),
    ("wan", "transformer", {"in_channels": 36}, "takes further channels, as image-to-video models do"),
    ("wan", "transformer", {"text_dim": 16}, "tokens have a width of 32, but the pipeline needs 16"),
    ("wan", "vae", {"is_residual": True}, "is_residual = True is not supported, only False"),
    ("wan", "vae", {"scale_factor_temporal": 2}, "scale_factor_temporal = 2 is not supported, only 4"),
]  # fmt: skip


@pytest.mark.parametrize("family", CASES)
def test_networks_that_are_called_otherwise_or_do_not_fit_are_refused(
    folder: Callable[[str], Path], family: str
) -> None:
    path = folder(family)
    for _, component, changes, told in (case for case in OTHER_NETWORKS if case[0] == family):
        config = path / component / "config.json"
        before = config.read_text()
        change(config, **changes)
        said = refusal(path)
        assert any(part in said for part in told.split("|")), (changes, said)
        config.write_text(before)
    describe(Options(path, path / "out"))


def test_lengths_of_tokenizers_are_checked(folder: Callable[[str], Path]) -> None:
    path = folder("sdxl")
    files = [path / name / "tokenizer_config.json" for name in ("tokenizer", "tokenizer_2")]
    change(files[0], model_max_length=64)
    assert refusal(path) == "tokenizers: model_max_length of [64, 77] is not supported, only one"
    change(files[1], model_max_length=64)
    describe(Options(path, path / "out"))
    for file in files:
        change(file, model_max_length=100)
    assert "max_position_embeddings = 77 is not supported beside a tokenizer of 100" in refusal(path)
    for file in files:  # what transformers takes for an unknown length
        change(file, model_max_length=None)
    assert "model_max_length = 1e+30 is not supported, at most 65536" in refusal(path)


def test_entries_that_no_class_knows_are_told(folder: Callable[[str], Path]) -> None:
    path = folder("sdxl")
    assert "not known" not in describe(Options(path, path / "out"))
    change(path / "unet/config.json", brand_new=3)
    change(path / "model_index.json", requires_safety_checker=True)
    change(path / "scheduler/scheduler_config.json", timestep_spacng="trailing", skip_prk_steps=True)
    told = describe(Options(path, path / "out")).splitlines()[-1]
    wanted = ("requires_safety_checker of model_index.json", "brand_new of unet",
              "timestep_spacng of scheduler")  # fmt: skip
    assert told.startswith("  not known to diffusers: ") and all(entry in told for entry in wanted)
    assert told.count(",") == 2


@torch.no_grad()
@pytest.mark.parametrize("family", ("sdxl", "sd3", "flux"))
def test_latents_are_scaled_as_the_pipeline_does(folder: Callable[[str], Path], family: str) -> None:
    """SDXL's pipeline reads statistics of channels and no shift; the others read the shift alone."""
    path, count = folder(family), 4 if family == "sdxl" else 16
    mean, deviation = torch.linspace(-1, 1, count), torch.linspace(1, 2, count)
    changes = {"latents_mean": mean.tolist(), "latents_std": deviation.tolist(), "shift_factor": 0.25}
    change(path / "vae/config.json", **changes)
    pipe = load_pipeline(path, torch.float32, "cpu")
    found, latents = exporter.family_of(pipe), torch.randn(1, count, 6, 4)
    scale, shift = (found.manifest["latent"][name] for name in ("scaling_factor", "shift_factor"))
    pictures = found.vae(pipe.vae)[0].module(latents / scale + shift)
    factor = pipe.vae.config.scaling_factor
    if family == "sdxl":
        expected = latents * deviation.view(1, -1, 1, 1) / factor + mean.view(1, -1, 1, 1)
    else:
        expected = latents / factor + 0.25
    torch.testing.assert_close(pictures, pipe.vae.decode(expected).sample, rtol=1e-5, atol=1e-5)


def test_options_are_checked_first(sources: dict[str, Path]) -> None:
    assert refusal(sources["sdxl"], steps=0) == "--steps 0: expected at least 1"
    assert refusal(sources["sdxl"], guidance=float("nan")) == "--guidance nan: expected a finite number"
    assert refusal(sources["sdxl"], solver="euler:") == "--solver euler:: expected NAME[:key=value,...]"
    assert "skips blocks of sd3, flux, wan, not of sdxl" in refusal(sources["sdxl"], perturb="skip:1")
    assert "expected skip, pag, seg, got 'slg'" in refusal(sources["sd3"], perturb="slg:1")
    assert "the network has no block 7" in refusal(sources["sd3"], perturb="skip:0,7")
    assert "no self-attention in nowhere" in refusal(sources["sdxl"], perturb="pag:nowhere")


@torch.no_grad()
def test_sd3_without_t5_has_zeros_in_its_place(
    folder: Callable[[str], Path], only: Callable[..., None]
) -> None:
    only("text_encoder")
    path = folder("sd3")
    for name in ("text_encoder_3", "tokenizer_3"):
        shutil.rmtree(path / name)
    change(path / "model_index.json", text_encoder_3=[None, None], tokenizer_3=[None, None])
    export_pipeline(Options(path, path / "out"))
    manifest = json.loads((path / "out/model.json").read_text())
    pipe = load_pipeline(path, torch.float32, "cpu")
    assert manifest["absent_text"] == [256, pipe.transformer.config.joint_attention_dim]
    assert "text_encoder_3" not in manifest["components"]
    tokens, *_ = pipe.encode_prompt("a", "a", "a", do_classifier_free_guidance=False)
    assert list(tokens[0, 77:].shape) == manifest["absent_text"] and not tokens[0, 77:].any()


@torch.no_grad()
def test_networks_without_query_and_key_norms_export(
    folder: Callable[[str], Path], only: Callable[..., None]
) -> None:
    only("denoiser")
    path = folder("sd3")
    pipe = load_pipeline(path, torch.float32, "cpu")
    config = dict(pipe.transformer.config) | {"qk_norm": None}
    plain = SD3Transformer2DModel.from_config(config)
    plain.load_state_dict(pipe.transformer.state_dict(), strict=False)
    plain.save_pretrained(path / "transformer")
    export_pipeline(Options(path, path / "out"))
    assert (path / "out/model.json").exists()


@torch.no_grad()
def test_perturbed_denoisers_are_the_pipelines(
    sources: dict[str, Path], tmp_path: Path, only: Callable[..., None]
) -> None:
    only("perturbed_denoiser")
    export_pipeline(Options(sources["sd3"], tmp_path, perturb="skip:0"))
    entry = json.loads((tmp_path / "model.json").read_text())["components"]["perturbed_denoiser"]
    file = torch.jit.load(str(tmp_path / entry["file"]))
    net = load_pipeline(sources["sd3"], torch.float32, "cpu").transformer
    x, time = torch.randn(2, 16, 8, 6), torch.tensor([300.0, 700.0])
    tokens, pooled = torch.randn(2, 9, 72), torch.randn(2, 64)
    expected = net(x, tokens, pooled, time, skip_layers=[0]).sample
    torch.testing.assert_close(file(x, time, tokens, pooled, torch.arange(12)), expected, rtol=0, atol=1e-5)
    names = {name for name, _ in file.named_parameters()}
    assert not any(".transformer_blocks.0." in name for name in names)
    assert any(".transformer_blocks.1." in name for name in names)


@torch.no_grad()
def test_perturbed_attention_is_the_published(sources: dict[str, Path]) -> None:
    """PAG against diffusers' processor of PAG; SEG's unlimited blur against attention to the mean query."""
    from diffusers.models.attention_processor import PAGIdentitySelfAttnProcessor2_0

    unet = load_pipeline(sources["sdxl"], torch.float32, "cpu").unet
    hidden = torch.randn(2, 12, unet.mid_block.attentions[0].transformer_blocks[0].attn1.query_dim)
    for kind in ("pag", "seg"):
        changed = perturbed(unet, parse(f"{kind}:mid_block", "sdxl"), "sdxl")
        ours = changed.mid_block.attentions[0].transformer_blocks[0].attn1
        theirs = unet.mid_block.attentions[0].transformer_blocks[0].attn1
        assert ours.processor is not theirs.processor and ours.to_q.weight is theirs.to_q.weight
        other = changed.down_blocks[1].attentions[0].transformer_blocks[0].attn1
        assert other.processor is unet.down_blocks[1].attentions[0].transformer_blocks[0].attn1.processor
        if kind == "pag":
            both = PAGIdentitySelfAttnProcessor2_0()(theirs, torch.cat((hidden, hidden)))
            expected = both[2:]
        else:
            q = theirs.to_q(hidden).mean(1, keepdim=True).expand(-1, 12, -1)
            q, k, v = (
                x.unflatten(2, (theirs.heads, -1)).transpose(1, 2)
                for x in (q, theirs.to_k(hidden), theirs.to_v(hidden))
            )
            weights = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5).softmax(-1)
            expected = theirs.to_out[0]((weights @ v).transpose(1, 2).flatten(2))
        torch.testing.assert_close(ours(hidden), expected, rtol=1e-5, atol=1e-5)


def test_time_left_is_told_once_enough_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 60.0, 100.0])
    monkeypatch.setattr(exporter.time, "monotonic", lambda: next(clock))
    # A small network after a slow start says nothing of the large one; the large one says of what follows.
    weights = (1, 1000, 250)
    parts = [SimpleNamespace(module=torch.nn.Linear(count, 1, bias=False)) for count in weights]
    progress = exporter.Progress(parts)
    for name in ("encoder", "denoiser", "decoder"):
        progress.next(name)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["[1/3] encoder: 0.0 MiB", "[2/3] denoiser: 0.0 MiB"]
    assert lines[2] == "[3/3] decoder: 0.0 MiB, about 15 s left"  # 60 s for 1001 of 1251
