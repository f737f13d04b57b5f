"""Smoke run of the stages that make CoRe2's weak network and the golden-noise network, on a copied bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from glint_train.archive import sha256
from glint_train.bundle import Bundle
from glint_train.collection import Collection, Predictions
from glint_train.denoiser import Denoiser
from glint_train.grammar import Grammar
from glint_train.networks import NoiseNetwork, WeakNetwork
from glint_train.prompts import evaluation_sets
from network_prompts import draw, without_articles
from weak_network import errors

MODEL = Path(__file__).parents[2] / "models/emoji-flow"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the bundled model that may be changed."""
    return Path(shutil.copytree(MODEL, tmp_path_factory.mktemp("networks") / "emoji-flow"))


def write_collection(folder: Path, kind: str, bundle: Bundle, prompts: list[str]) -> None:
    """What `glint collect` writes, with predictions and targets that are a fixed share of the latents."""
    torch.manual_seed(len(prompts))
    count, steps = len(prompts), 3
    tokens, pooled = (x.half() for x in bundle.encode_text(prompts))
    shared = {"prompt": torch.arange(count), "seed": torch.arange(count), "tokens": tokens, "pooled": pooled,
              "null_tokens": tokens[:1].clone()}  # fmt: skip
    names = ["denoiser", "text_encoder", "tokenizer"]
    if kind == "trajectories":
        output = torch.randn(count, steps, 4, 16, 16)
        tensors = shared | {
            "latents": output.half(),
            "output": output.half(),
            "null_output": (output / 2).half(),
            "sigma": torch.tensor([1.0, 0.6, 0.2]),
            "position": torch.arange(steps) / steps,
        }
    else:
        noise = torch.randn(count, 4, 16, 16)
        scores = torch.tensor([[0.2, 0.4]]).repeat(count, 1)
        tensors = shared | {
            "noise": noise,
            "reflected": noise + 0.5,
            "scores": scores,
            "candidate_scores": scores.clone(),
        }
        names += ["vae_decoder", "scorer"]
    folder.mkdir()
    save_file(
        {name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "shard-00000.safetensors"
    )
    (folder / "prompts.json").write_text(json.dumps(prompts))
    components = {name: bundle.manifest["components"][name]["sha256"] for name in names}
    shard = {"file": "shard-00000.safetensors", "sha256": sha256(folder / "shard-00000.safetensors")}
    manifest = {"format": 1, "kind": kind, "model": {"name": "emoji-flow", "components": components},
                "options": {"guidance": 2.0}, "complete": True, "shards": [shard]}  # fmt: skip
    (folder / "collection.json").write_text(json.dumps(manifest))


@pytest.fixture(scope="module")
def collected(run: Callable[..., str], folder: Path) -> Path:
    """A working folder with collections of the smoke bundle."""
    work = folder.parent / "work"
    run("network_prompts", "--work", str(work))
    for kind in ("trajectories", "noise-pairs"):
        for suffix, file in (("", "prompts.txt"), ("-held-out", "held_out.txt")):
            write_collection(
                work / f"{kind}{suffix}", kind, Bundle(folder), (work / file).read_text().splitlines()
            )
    write_collection(
        work / "trajectories-fine",
        "trajectories",
        Bundle(folder),
        (work / "fine.txt").read_text().splitlines(),
    )
    return work


def test_held_out_prompts_are_no_others() -> None:
    prompts, held_out = draw(300, 60, 5, Grammar())
    assert len(prompts) == 300 and len(held_out) == 60
    words = [{without_articles(prompt) for prompt in part} for part in (prompts, held_out)]
    measured = {
        without_articles(prompt) for _, part in evaluation_sets(Grammar()).values() for prompt in part
    }
    assert not words[0] & words[1] and not (words[0] | words[1]) & measured
    assert without_articles("a small key left of an apple") == "small key left of apple"


def test_noise_network_begins_as_the_identity_and_reads_the_prompt() -> None:
    torch.manual_seed(0)
    latents, tokens, pooled = torch.randn(2, 4, 16, 16), torch.randn(2, 16, 192), torch.zeros(2, 192)
    network = NoiseNetwork()
    assert torch.equal(network(latents, tokens, pooled), latents)
    inner = network.residual
    for layer in (inner.head, inner.after.conv2, inner.after.modulation, inner.attention.out):
        torch.nn.init.normal_(layer.weight, std=0.1)
    made = network(latents, tokens, pooled)
    for changed in (
        (latents, tokens.flip(0), pooled),
        (latents, tokens, pooled + 1),
        (latents + 1, tokens, pooled),
    ):
        assert not torch.allclose(network(*changed) - changed[0], made - latents, atol=1e-3)


def test_weak_network_begins_with_blocks_of_the_denoiser(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all blocks and the null branch's full share it is guidance itself, and it reads all its inputs."""
    torch.manual_seed(0)
    chosen = WeakNetwork()
    whole, nulls = Denoiser(), torch.randn(1, 16, 192)
    chosen.start_from(whole, nulls, 3.0)
    ours, theirs = chosen.denoiser.transformer, whole.transformer
    for here, there in enumerate(WeakNetwork.SINGLE):
        block, origin = ours.single_transformer_blocks[here], theirs.single_transformer_blocks[there]
        assert torch.equal(block.proj_mlp.weight, origin.proj_mlp.weight)
    block, origin = ours.transformer_blocks[0], theirs.transformer_blocks[WeakNetwork.DOUBLE[0]]
    assert torch.equal(block.attn.to_q.weight, origin.attn.to_q.weight)

    monkeypatch.setattr(WeakNetwork, "DOUBLE", (0, 1))
    monkeypatch.setattr(WeakNetwork, "SINGLE", (0, 1, 2, 3))
    network = WeakNetwork()
    network.start_from(whole, nulls, 3.0)
    torch.nn.init.constant_(network.time2.bias, 30.0)  # sigmoid: 1
    output, latents, sigma = torch.randn(2, 4, 16, 16), torch.randn(2, 4, 16, 16), torch.tensor([0.9, 0.4])
    null = whole(latents, sigma, nulls.expand(2, -1, -1), torch.zeros(2, 192))
    made = network(output, latents, sigma)
    assert torch.allclose(made, null + 3 * (output - null), atol=1e-5)
    torch.nn.init.normal_(network.denoiser.transformer.x_embedder.weight)

    def guessed(output: Tensor, latents: Tensor, sigma: Tensor) -> Tensor:
        return output - (network(output, latents, sigma) - output) / 2  # the null prompt's prediction

    null = guessed(output, latents, sigma)
    for changed in (
        (output, latents, sigma * 0.5),
        (output, latents + 1, sigma),
        (output + 1, latents, sigma),
    ):
        assert not torch.allclose(guessed(*changed), null, atol=1e-3)


def test_guided_predictions_and_their_errors_by_hand(collected: Path) -> None:
    data = Predictions(Collection(collected / "trajectories", "trajectories"))
    given, guided = data.batch(torch.tensor([4]))  # step 1 of item 1
    assert torch.equal(given[0][0], data.outputs[4].float()) and given[2].tolist() == [pytest.approx(0.6)]
    assert torch.allclose(guided, 1.5 * given[0], atol=2e-3)  # output / 2 + 2 (output - output / 2)
    joined = Predictions(*2 * [Collection(collected / "trajectories", "trajectories")])
    again, _ = joined.batch(torch.tensor([len(data) + 4]))
    assert len(joined) == 2 * len(data) and all(torch.equal(a, b) for a, b in zip(given, again))
    made, plain, size = errors(WeakNetwork(), data)  # the identity
    assert torch.equal(made, plain)
    assert torch.allclose((plain / size).sqrt(), torch.full_like(size, 1 / 3), atol=1e-3)


def test_small_networks_are_trained_exported_and_measured(
    run: Callable[..., str], folder: Path, collected: Path
) -> None:
    weak = run("weak_network", "--work", str(collected), "--bundle", str(folder))
    assert "held-out prompts: relative error" in weak
    golden = run("golden_noise", "--work", str(collected)).splitlines()[-1].split()
    assert float(golden[-6].rstrip(",")) > float(golden[-1])  # the target is the noise and a constant
    # Goes on, and has no time left.
    assert "done" in run("weak_network", "--work", str(collected), "--bundle", str(folder))
    run("export_networks", "--work", str(collected), "--bundle", str(folder))
    bundle = Bundle(folder)
    entry = bundle.manifest["components"]["core2_weak"]
    assert entry["inputs"] == ["output", "latents", "sigma"]
    assert sha256(folder / entry["file"]) == entry["sha256"]
    printed = run("measure_networks", "--bundle", str(folder), "--work", str(collected))
    assert "ratio" in printed and "golden-noise and CFG" in printed


def test_networks_of_another_model_are_refused(folder: Path, collected: Path, tmp_path: Path) -> None:
    manifest = json.loads((folder / "model.json").read_text())
    manifest["components"]["denoiser"]["sha256"] = "0" * 64
    with pytest.raises(SystemExit, match="another denoiser"):
        Collection(collected / "trajectories", "trajectories").check_model(manifest)
    with pytest.raises(SystemExit, match="holds trajectories of format 1, not noise-pairs"):
        Collection(collected / "trajectories", "noise-pairs")
    manifest = json.loads((collected / "noise-pairs" / "collection.json").read_text())
    shutil.copytree(collected / "noise-pairs", tmp_path / "begun")
    (tmp_path / "begun" / "collection.json").write_text(json.dumps(manifest | {"complete": False}))
    with pytest.raises(SystemExit, match="not complete"):
        Collection(tmp_path / "begun", "noise-pairs")
    assert len(Collection(tmp_path / "begun", "noise-pairs", partial=True).tensors["noise"]) == 4
    write_collection(tmp_path / "damaged", "noise-pairs", Bundle(folder), ["key"])
    (tmp_path / "damaged" / "shard-00000.safetensors").write_bytes(b"damaged")
    with pytest.raises(SystemExit, match="is damaged"):
        Collection(tmp_path / "damaged", "noise-pairs")
