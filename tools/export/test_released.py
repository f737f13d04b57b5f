"""Released checkpoints as components: transcriptions against other implementations, converters, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.embeddings import PatchEmbed
from diffusers.models.normalization import AdaGroupNorm, AdaLayerNormContinuous
from glint_export import archives, released_parts
from glint_export.errors import ExportError
from glint_export.exporter import Options, export_pipeline
from glint_export.released import core2, npnet, swin
from glint_export.released.checkpoints import core2_checkpoint, layout, npnet_checkpoint, with_component
from glint_export.released.svd import canonical_svd
from released_networks import DATA, SMALL, built, full_cases, small_cases
from released_runs import CORE2, NPNET, core2_state, drawn, npnet_state, runs
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import SwinConfig, SwinModel


def saved(value: object, folder: Path, name: str = "it.pth") -> Path:
    torch.save(value, folder / name)
    return folder / name


def close(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> None:
    assert ours.shape == theirs.shape
    assert float((ours - theirs).abs().max() / theirs.abs().max()) < tolerance


@torch.no_grad()
def test_swin_is_transformers_swin() -> None:
    mine = drawn(swin.Swin(swin.SwinConfig(image=64, window=4, width=16, depths=(2, 2, 2), heads=(1, 2, 4))))
    config = SwinConfig(
        image_size=64, patch_size=4, window_size=4, embed_dim=16, depths=[2, 2, 2], num_heads=[1, 2, 4]
    )
    theirs = SwinModel(config, add_pooling_layer=False).eval()
    state = theirs.state_dict()
    for name in state:
        if name.endswith("relative_position_index"):
            continue
        own = name.replace("encoder.", "").replace(
            "embeddings.patch_embeddings.projection", "patch_embed.proj"
        )
        own = own.replace("embeddings.norm", "patch_embed.norm").replace("layernorm_before", "norm1")
        own = own.replace("layernorm_after", "norm2").replace("layernorm", "norm")
        own = own.replace("attention.o_proj", "attn.proj")
        own = own.replace("attention.relative_position_bias.", "attn.")
        if "downsample" in own:  # at the end of the stage before
            stage = int(own.split(".")[1])
            own = own.replace(f"layers.{stage}.", f"layers.{stage + 1}.")
        part = next((i for i, kind in enumerate("qkv") if f"attention.{kind}_proj" in own), None)
        if part is None:
            state[name] = mine.state_dict()[own]
        else:
            joined = own.replace(f"attention.{'qkv'[part]}_proj", "attn.qkv")
            state[name] = mine.state_dict()[joined].chunk(3)[part]
    theirs.load_state_dict(state)
    image = torch.randn(2, 3, 64, 64)
    close(mine(image).flatten(1, 2), theirs(image).last_hidden_state)


@torch.no_grad()
def test_parts_of_core2_are_diffusers_layers() -> None:
    config = core2.Core2Config(
        channels=4, width=32, heads=2, hidden=64, blocks=1, tokens=5, token_width=24, pooled=20,
        pool_projection=True, null_first=True, banks=1, rank=2, table=12, table_base=4,
    )  # fmt: skip
    mine = drawn(core2.Core2Network(config))
    for module in mine.modules():
        if isinstance(module, core2.Banked):  # the layers are compared without corrections
            module.lora[0].B.zero_()
    state = {
        name.replace(".linear.", "."): value
        for name, value in mine.state_dict().items()
        if ".lora." not in name
    }

    def loaded(layer: nn.Module, prefix: str) -> nn.Module:
        layer.load_state_dict({name: state[prefix + name] for name in layer.state_dict()})
        return layer.eval()

    x = torch.randn(2, 7, 32)
    block = BasicTransformerBlock(dim=32, num_attention_heads=2, attention_head_dim=16, ff_inner_dim=64)
    close(mine.transformer_blocks[0](x), loaded(block, "transformer_blocks.0.")(x))
    patches = PatchEmbed(height=8, width=8, patch_size=2, in_channels=4, embed_dim=32, pos_embed_max_size=12)
    latents = torch.randn(2, 4, 8, 6)
    close(mine.pos_embed(latents), loaded(patches, "pos_embed.")(latents), 1e-6)
    norm = AdaLayerNormContinuous(32, 32, elementwise_affine=False, eps=1e-6)
    norm.linear.weight.copy_(mine.norm_out.linear.linear.weight)
    norm.linear.bias.copy_(mine.norm_out.linear.linear.bias)
    condition = torch.randn(2, 32)
    close(mine.norm_out(x, condition), norm(x, condition))


@torch.no_grad()
def test_text_norm_of_npnet_is_diffusers_layer() -> None:
    mine = drawn(npnet.Npnet(NPNET)).embedding
    theirs = AdaGroupNorm(77 * 64, 4, 1, eps=1e-6)
    theirs.load_state_dict(mine.state_dict())
    x, prompt = torch.randn(2, 4, 8, 8), torch.randn(2, 77 * 64)
    close(mine(x, prompt), theirs(x, prompt))


@torch.no_grad()
def test_npnet_without_its_parts_is_the_identity() -> None:
    network = drawn(npnet.Npnet(NPNET))
    for parameter in (network.alpha, network.beta, *network.unet_svd.mlp4[2].parameters()):
        parameter.zero_()
    x, tokens = torch.randn(2, 4, 8, 8), torch.randn(2, 77, 64)
    close(network(x, tokens), x)
    # A constant k on every singular value adds k U Vh.
    network.unet_svd.mlp4[2].bias.fill_(0.7)
    u, s, vh = torch.linalg.svd(npnet.tiled(x).double())
    assert torch.allclose(torch.linalg.svdvals(npnet.tiled(network(x, tokens)).double()), s + 0.7, atol=1e-5)
    close(network(x, tokens), x + 0.7 * npnet.untiled(u @ vh).float())
    assert torch.equal(npnet.untiled(npnet.tiled(x)), x)


def test_decomposition_has_no_freedom() -> None:
    matrix = torch.cat([torch.zeros(4, 12), torch.randn(4, 12)]).double()
    u, s, vh = canonical_svd(matrix)
    assert torch.allclose(u[:, :8] @ torch.diag(s) @ vh, matrix, atol=1e-12)
    assert torch.allclose(u[:4, 4:], torch.eye(4, dtype=torch.float64), atol=1e-12)
    largest = u.gather(0, u.abs().argmax(0)[None])
    assert bool((largest > 0).all())


@torch.no_grad()
def test_stored_vectors_are_todays() -> None:
    stored = load_file(DATA / "vectors.safetensors")
    today = {f"{name}.{key}": value for name, case in small_cases().items() for key, value in case.items()}
    assert stored.keys() == today.keys()
    for name, value in today.items():
        torch.testing.assert_close(value, stored[name], rtol=1e-5, atol=1e-5, msg=name)
    for name, config in SMALL.items():
        stored, today = load_file(DATA / f"{name}.safetensors"), layout(built(config))
        assert stored.keys() == today.keys()
        for key, value in today.items():
            assert torch.equal(stored[key], torch.stack(value) if isinstance(value, list) else value), key


@torch.no_grad()
def test_stored_full_size_values_are_todays() -> None:
    values, told = full_cases()
    stored = load_file(DATA / "full_size.safetensors")
    assert json.loads((DATA / "full_size.json").read_text()) == told
    assert stored.keys() == values.keys()
    for name, value in values.items():
        torch.testing.assert_close(value, stored[name], rtol=1e-4, atol=1e-4, msg=name)


@torch.no_grad()
def test_checkpoints_become_components_of_a_bundle(sources: dict[str, Path], tmp_path: Path) -> None:
    core2_file = saved(core2_state(), tmp_path, "core2.pth")
    npnet_file = saved(npnet_state(), tmp_path, "npnet.pth")
    out = tmp_path / "bundle"
    export_pipeline(Options(sources["sdxl"], out, npnet=npnet_file, core2=core2_file))
    entries = json.loads((out / "model.json").read_text())["components"]
    for name, inputs in (
        ("npnet", ["latents", "tokens"]),
        ("core2_weak", ["output", "position", "tokens", "pooled", "null_tokens", "null_pooled"]),
    ):
        entry = entries[name]
        assert (entry["backend"], entry["inputs"]) == ("safetensors", inputs)
        assert archives.sha256(out / entry["file"]) == entry["sha256"]
    with safe_open(str(out / "core2_weak.safetensors"), framework="pt") as file:
        assert file.metadata()["architecture"] == "core2"
        assert file.get_tensor("proj_out.lora_a").shape == (3, 64, 2)
        assert not [name for name in file.keys() if "pos_embed.pos_embed" in name or name.startswith("pre24")]
    with safe_open(str(out / "npnet.safetensors"), framework="pt") as file:
        assert file.metadata()["features"] == "nhwc-as-nchw"
        assert not [name for name in file.keys() if ".bn." in name or ".head." in name or "mask" in name]
    # The component computes what the checkpoint does.
    stored = with_component(core2.Core2Network(CORE2), load_file(out / "core2_weak.safetensors"))
    original = drawn(core2.Core2Network(CORE2))
    for inputs in released_parts.examples(original):
        close(stored(*inputs), original(*inputs), 1e-7)


def test_stored_runs_are_todays(sources: dict[str, Path]) -> None:
    folder = DATA.parent / "families/sdxl"
    stored = load_file(folder / "released.safetensors")
    for name, value in runs(sources["sdxl"], folder).items():
        torch.testing.assert_close(value, stored[name], rtol=1e-5, atol=1e-4, msg=name)
    for name in ("npnet", "core2_weak"):
        entry = json.loads((folder / "released.json").read_text())["components"][name]
        assert archives.sha256(folder / entry["file"]) == entry["sha256"]


def test_both_spellings_and_half_precision_are_read(tmp_path: Path) -> None:
    state = npnet_state("embedding")
    state["unet_svd"] = {name: value.half() for name, value in state["unet_svd"].items()}
    assert npnet_checkpoint(saved(state, tmp_path), 77).unet_svd.mlp1[0].weight.dtype == torch.float32
    half = {name: value.bfloat16() for name, value in core2_state().items()}
    network = core2_checkpoint(saved(half, tmp_path))
    assert network.config == CORE2
    assert network.proj_out.linear.weight.dtype == torch.float32


def test_refusals_list_what_is_wrong(sources: dict[str, Path], tmp_path: Path) -> None:
    def refused(change: dict[str, object], drop: tuple[str, ...] = ()) -> str:
        state = core2_state() | change
        for name in drop:
            state.pop(name)
        with pytest.raises(ExportError) as error:
            core2_checkpoint(saved(state, tmp_path))
        return str(error.value)

    told = refused({}, ("proj_out.lora.0.A",))
    assert "missing key proj_out.lora.0.A; it has last_linear.0.linear.bias" in told
    changes = {"more": torch.zeros(1), "proj_out.linear.bias": torch.zeros(3)}
    told = refused(changes, ("norm_out.linear.linear.bias",))
    assert "missing keys: norm_out.linear.linear.bias" in told
    assert "unknown keys: more" in told
    assert "proj_out.linear.bias [3] (expected [16])" in told
    told = refused({"proj_out.linear.bias": torch.full((16,), torch.nan)})
    assert "not finite: proj_out.linear.bias" in told
    table = torch.zeros(1, 192 * 192, 64)
    assert "differs from the sine-cosine table" in refused({"pos_embed.pos_embed": table})
    assert "expected a state dict of tensors" in refused({"epoch": 3})

    with pytest.raises(ExportError, match="missing keys: alpha, embedding; it has"):
        state = npnet_state()
        npnet_checkpoint(
            saved({k: v for k, v in state.items() if k not in ("alpha", "embeeding")}, tmp_path), 77
        )
    with pytest.raises(ExportError, match="prompts of 4928 numbers, which 75 tokens cannot have"):
        npnet_checkpoint(saved(npnet_state(), tmp_path), 75)
    old = npnet_state()
    old["unet_embedding"] = {
        name.replace("layers.1.down", "layers.0.down"): value for name, value in old["unet_embedding"].items()
    }
    with pytest.raises(ExportError, match="missing keys: unet_embedding.swin.layers.1.downsample"):
        npnet_checkpoint(saved(old, tmp_path), 77)
    (tmp_path / "text.pth").write_text("no checkpoint")
    with pytest.raises(ExportError, match="text.pth: not a checkpoint of tensors"):
        npnet_checkpoint(tmp_path / "text.pth", 77)
    with pytest.raises(ExportError, match="none.pth: no such file"):
        core2_checkpoint(tmp_path / "none.pth")
    with pytest.raises(ExportError, match="for sdxl models, not for flux"):
        export_pipeline(Options(sources["flux"], tmp_path / "flux", npnet=saved(npnet_state(), tmp_path)))
    # A network for SD3's prompts beside an SDXL model.
    with pytest.raises(ExportError, match="made for prompts of tokens 77, the pipeline's have 333"):
        export_pipeline(
            Options(sources["sd3"], tmp_path / "sd3", core2=saved(core2_state() | wider(), tmp_path))
        )
    assert not (tmp_path / "sd3/model.json").exists()


def wider() -> dict[str, Tensor]:
    """What makes the network's latents those of SD3."""
    return {
        "pos_embed.proj.weight": torch.zeros(64, 16, 2, 2),
        "skip_connection.linear.weight": torch.zeros(32, 155),
        **{f"skip_connection.lora.{b}.B": torch.zeros(2, 32) for b in range(3)},
        "proj_out.linear.weight": torch.zeros(64, 64), "proj_out.linear.bias": torch.zeros(64),
        **{f"proj_out.lora.{b}.B": torch.zeros(2, 64) for b in range(3)},
    }  # fmt: skip
