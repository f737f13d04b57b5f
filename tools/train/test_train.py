"""Smoke run of every training stage in a temporary folder, and checks of the grammar and of the bundle it writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from glint_train.adapters import add_to, direction  # noqa: E402
from glint_train.archive import sha256  # noqa: E402
from glint_train.bundle import Bundle  # noqa: E402
from glint_train.grammar import Grammar, Part, Scene  # noqa: E402
from glint_train.judge import FLOOR, Judge, colour_right, mask_iou, size_right  # noqa: E402
from glint_train.layout import Labeller  # noqa: E402
from glint_train.mix import Mix, is_composition  # noqa: E402
from glint_train.models import DistilledModel, FlowModel  # noqa: E402
from glint_train.muon import Muon  # noqa: E402
from glint_train.quantise import quantise  # noqa: E402
from glint_train.trainer import optimise  # noqa: E402
from glint_train.render import Renderer  # noqa: E402
from glint_train.run import load_checkpoint, to_images  # noqa: E402
from glint_train.text import TextEncoder  # noqa: E402
from glint_train.unet import signal_and_noise  # noqa: E402
from glint_train.verifier import similarity  # noqa: E402
from glint_train.warm_start import component_state  # noqa: E402
from glint_train.words import WordTokenizer, build_vocabulary  # noqa: E402
from verifier import make_verifier  # noqa: E402


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
    for stage in ("data", "autoencoder", "denoiser", "verifier"):
        run(stage, "--work", str(work))
    run("export", "--work", str(work), "--out", str(work / "emoji-flow"))
    return work / "emoji-flow"


@pytest.fixture(scope="module")
def continued(folder: Path) -> Path:
    """A bundle of a run that goes on from the first one and keeps that one's denoiser as the weak variant."""
    work = folder.parent / "continued"
    run("data", "--work", str(work))
    run("denoiser", "--work", str(work), "--init", str(folder), "--compositions", "0.7", "0.5")
    run("export", "--work", str(work), "--out", str(work / "emoji-flow"), "--weak", "denoiser_start", "--init", str(folder))
    run("adapters", "--work", str(work), "--out", str(work / "emoji-flow"), "--from", "denoiser_start")
    return work / "emoji-flow"


@pytest.fixture(scope="module")
def distilled(continued: Path) -> Path:
    """A bundle of the distilled denoiser."""
    run("distill", "--work", str(continued.parent))
    run("export", "--work", str(continued.parent), "--out", str(continued.parent / "distilled"), "--kind", "distilled", "--int8")
    return continued.parent / "distilled"


@pytest.fixture(scope="module")
def xl(folder: Path, continued: Path) -> Path:
    """A bundle of the UNet, which reads the tokens of the first bundle."""
    run("denoiser", "--work", str(continued.parent), "--kind", "xl", "--init", str(folder))
    run("export", "--work", str(continued.parent), "--out", str(continued.parent / "emoji-xl"), "--kind", "xl")
    return continued.parent / "emoji-xl"


def test_samples_depend_on_seed_and_index_only() -> None:
    grammar = Grammar()
    renderer = Renderer(grammar)

    def sample(index: int) -> tuple[str, np.ndarray]:
        rng = np.random.default_rng([7, index])
        scene, prompt = grammar.draw(rng, composed=index % 2 == 0)
        return prompt, renderer.render(scene, rng)

    first = [sample(index) for index in range(20)]
    for index in reversed(range(20)):
        prompt, image = sample(index)
        assert prompt == first[index][0]
        assert np.array_equal(image, first[index][1])


def test_samples_hold_no_held_out_combination_and_only_known_words() -> None:
    grammar = Grammar()
    assert len(grammar.objects) >= 400
    tokenizer = WordTokenizer(build_vocabulary(grammar))
    pairs = 0
    for index in range(2000):
        scene, prompt = grammar.draw(np.random.default_rng([3, index]), composed=is_composition(index))
        assert not grammar.scene_held_out(scene)
        ids = tokenizer.encode(prompt)
        assert ids.shape == (16,) and 1 not in ids
        pairs += len(scene.parts) > 1
    assert 0.4 <= pairs / 1500 <= 0.7


def test_batches_hold_the_share_of_compositions_they_are_asked_for() -> None:
    mix = Mix(0.8, 0.4)
    for progress, share in ((0.0, 0.8), (0.5, 0.6), (1.0, 0.4)):
        drawn = np.concatenate([mix.batch(1000, 32, 5, step, progress) for step in range(200)])
        assert drawn.min() >= 0 and drawn.max() < 1000
        # 6,400 draws: three standard deviations are below 0.02
        assert abs(np.mean([is_composition(index) for index in drawn]) - share) < 0.02
    assert np.array_equal(mix.batch(1000, 32, 5, 7, 0.5), mix.batch(1000, 32, 5, 7, 0.5))


def test_objects_of_pairs_keep_to_their_half() -> None:
    grammar = Grammar()
    renderer = Renderer(grammar)
    for relation, half in (("left of", np.s_[:, 32:]), ("above", np.s_[32:, :])):
        pictures = [renderer.render(Scene((Part("square", "red"), Part(name)), relation)) for name in ("key", "star")]
        changed = (pictures[0] != pictures[1]).any(-1)
        assert changed[half].sum() == changed.sum() > 0


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


def test_a_continued_run_keeps_latents_and_tokens_but_not_the_denoiser(folder: Path, continued: Path) -> None:
    first, second = Bundle(folder), Bundle(continued)
    latents, time = torch.randn(2, 4, 16, 16), torch.full((2,), 0.5)
    plain = ["red apple", "a small key on a yellow background"]  # without a relation, whose roles go on learning
    tokens, pooled = first.encode_text(plain)
    assert torch.equal(second.encode_text(plain)[0], tokens)
    assert torch.equal(second.decoder(latents), first.decoder(latents))
    assert second.manifest["components"]["scorer"] == first.manifest["components"]["scorer"]
    before, after = (bundle.denoiser(latents, time, tokens, pooled) for bundle in (first, second))
    weak = second.component("weak_denoiser")(latents, time, tokens, pooled)
    assert not torch.allclose(after, before, atol=1e-4)
    assert (weak - before).norm() < 0.01 * before.norm()  # 8 bits; a few steps move it less still, so also exactly:
    start = load_checkpoint(continued.parent / "denoiser_start.pt")["average"]
    stored = component_state(folder, "denoiser")
    assert all(torch.equal(value, stored[name.removeprefix("denoiser.")]) for name, value in start.items() if name.startswith("denoiser."))


def test_the_distilled_denoiser_takes_the_scale(distilled: Path) -> None:
    bundle = Bundle(distilled)
    assert bundle.manifest["guidance"]["embedded"] and bundle.inputs[-1] == "guidance"
    first, second = (bundle.latents(["red apple"], scale, 2, 0) for scale in (1.0, 5.0))
    assert first.shape == (1, 4, 16, 16) and not torch.equal(first, second)


def test_a_student_starts_as_its_teacher_at_every_scale() -> None:
    torch.manual_seed(0)
    words = build_vocabulary(Grammar())
    teacher, student = FlowModel(words).eval(), DistilledModel(words).eval()
    student.start_from(teacher)
    latents, time = torch.randn(2, 4, 16, 16), torch.rand(2)
    tokens, pooled = teacher.text_encoder(torch.randint(0, 10, (2, 16)))
    made = student.denoiser(latents, time, tokens, pooled, torch.tensor([1.0, 6.0]))
    assert torch.allclose(made, teacher.denoiser(latents, time, tokens, pooled), atol=1e-6)


@pytest.mark.parametrize("kind", ("linear", "convolution"))
def test_eight_bits_keep_a_layer_to_half_a_step(kind: str) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(32, 16) if kind == "linear" else nn.Conv2d(32, 16, 3, stride=2, padding=1)
    x = torch.randn(4, 32) if kind == "linear" else torch.randn(4, 32, 8, 8)
    made = quantise(nn.Sequential(layer))[0]
    step = layer.weight.detach().abs().amax(tuple(range(1, layer.weight.dim())), keepdim=True) / 127
    assert made.rows.dtype == torch.int8 and made.rows.shape == layer.weight.shape
    assert bool(((made.rows * made.scale - layer.weight).abs() <= step / 2 + 1e-7).all())
    layer.weight.data = made.rows * made.scale
    assert torch.allclose(made(x), layer(x), atol=1e-6)


def test_muon_is_the_published_one_and_takes_convolutions_as_matrices() -> None:
    """torch's own rounds to bfloat16, whose 8 bits are the tolerance."""
    torch.manual_seed(0)
    ours, theirs = nn.Parameter(torch.randn(8, 4, 3, 3)), nn.Parameter(torch.empty(8, 36))
    theirs.data.copy_(ours.detach().flatten(1))
    start = theirs.detach().clone()
    one = Muon([{"params": [ours]}], weight_decay=0.1)
    one.param_groups[0]["lr"] = 0.02
    other = torch.optim.Muon([theirs], lr=0.02, weight_decay=0.1, ns_steps=4, adjust_lr_fn="match_rms_adamw")
    for _ in range(5):
        gradient = torch.randn(8, 36)
        ours.grad, theirs.grad = gradient.reshape(8, 4, 3, 3), gradient
        one.step()
        other.step()
    moved = (theirs.detach() - start).norm()
    assert (ours.detach().flatten(1) - theirs.detach()).norm() < 0.02 * moved


def test_gradients_of_convolutions_are_clipped_with_the_others() -> None:
    model = nn.Sequential(nn.Conv2d(4, 4, 3))
    optimise(model, [Muon([{"params": [model[0].weight], "peak": 1.0}])], lambda peak: peak, lambda: 1e3 * model(torch.ones(1, 4, 5, 5)).sum())
    assert sum(p.grad.square().sum() for p in model.parameters()) <= 1.0 + 1e-4


def test_adapters_lead_back_to_where_they_come_from() -> None:
    """At full rank the weak direction of weight 1 undoes the change; other weights stay as they are."""
    torch.manual_seed(0)
    names = ("transformer.transformer_blocks.0.attn.to_q.weight", "transformer.transformer_blocks.0.ff.net.2.weight")
    start, end = ({name: torch.randn(6, 6) for name in names} for _ in range(2))
    adapter = direction(start, end, rank=6, scale=-1.0)
    assert set(adapter) == {names[0].replace("weight", f"lora_{side}.weight") for side in "AB"}
    moved = {name: value.clone() for name, value in end.items()}
    add_to(moved, adapter)
    assert torch.allclose(moved[names[0]], start[names[0]], atol=1e-5) and torch.equal(moved[names[1]], end[names[1]])
    low = direction(start, end, rank=2, scale=1.0)
    best = torch.linalg.svdvals(end[names[0]] - start[names[0]])[2:].square().sum().sqrt()
    product = low[names[0].replace("weight", "lora_B.weight")] @ low[names[0].replace("weight", "lora_A.weight")]
    assert torch.allclose((end[names[0]] - start[names[0]] - product).norm(), best, rtol=1e-4)


def test_words_belong_to_one_phrase() -> None:
    """A phrase's embeddings do not depend on the other phrase's words; the relation says which place is whose."""
    torch.manual_seed(0)
    words = build_vocabulary(Grammar())
    tokenizer, encoder = WordTokenizer(words), TextEncoder(words).eval()

    def tokens(prompt: str) -> torch.Tensor:
        return encoder(torch.from_numpy(tokenizer.encode(prompt))[None])[0][0]

    first, other = tokens("red star left of blue circle"), tokens("red star left of green frog")
    assert torch.equal(first[:2], other[:2]) and not torch.allclose(first[4:6], other[4:6])
    right = tokens("red star right of blue circle")
    assert not torch.allclose(first[:2], right[:2], atol=0.1)
    phrase, role, relation = encoder.phrases(
        torch.from_numpy(tokenizer.encode("red star left of blue circle on a pink background"))[None]
    )
    assert phrase[0].tolist() == [0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 1, 2, 0, 1, 2, 0] and torch.equal(role, phrase)
    assert relation[0].tolist() == [True, False, False, False]
    plain = encoder.phrases(torch.from_numpy(tokenizer.encode("right arrow"))[None])
    assert not plain[0].any() and not plain[2].any()
    assert bool(torch.isfinite(tokens("")).all() and torch.isfinite(tokens("above a star")).all())


def test_the_unet_predicts_v_of_its_process(xl: Path) -> None:
    alpha, sigma = signal_and_noise()
    assert torch.allclose(alpha**2 + sigma**2, torch.ones(1000)) and float(alpha[-1]) == 0.0
    bundle = Bundle(xl)
    assert bundle.manifest["guidance"]["default"] == 2.0
    assert bundle.manifest["parameterization"] == "v" and bundle.manifest["schedule"]["zero_terminal_snr"]
    assert bundle.manifest["components"]["denoiser"]["time"] == "timestep"
    assert bundle.generate(["red apple", ""], guidance=2.0, steps=2).shape == (2, 64, 64, 3)


def test_labels_follow_the_place_in_the_picture() -> None:
    grammar = Grammar()
    label = Labeller(grammar)
    key, star = Part("key", size="small"), Part("star", "red")
    left, right = label(Scene((key, star), "left of")), label(Scene((key, star), "right of"))
    assert left.objects == (grammar.names.index("key"), grammar.names.index("star"))
    assert right.objects == left.objects[::-1] and right.asked_colours == (True, False)
    assert label(Scene((Part("apple"),))).colours == label(Scene((Part("apple", "red"),))).colours


def test_pixel_checks_tell_right_from_wrong() -> None:
    grammar = Grammar()
    renderer = Renderer(grammar)
    scene = Scene((Part("umbrella", "red"),), background="yellow")
    image = renderer.render(scene)
    assert colour_right(image, scene, renderer)
    assert not colour_right(image, Scene((Part("umbrella", "green"),), background="yellow"), renderer)
    for size in ("small", "big"):
        sized = Scene((Part("umbrella", "red", size),), background="yellow")
        drawn = renderer.render(sized, np.random.default_rng(1))
        assert size_right(drawn, sized, renderer) and not size_right(image, sized, renderer)
    assert mask_iou(image, np.roll(image, 3, axis=1)) > 0.99
    assert mask_iou(image, renderer.render(Scene((Part("key", "red"),)))) < 0.6


def test_judge_reads_the_scorer_of_a_bundle(folder: Path) -> None:
    """The scorer's number is the judge's similarity where the network reads the asked layout in the prompt."""
    bundle, grammar = Bundle(folder), Grammar()
    judge = Judge.of_bundle(folder, grammar, bundle.tokenizer.size)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    scenes, ids = [Scene((Part("key"),)), Scene((Part("star"),))], bundle.ids(["key", "star"])
    score = bundle.component("scorer")(to_images(images), ids)
    assert score.shape == (2,) and bool(torch.isfinite(score).all())
    asked = judge.verifier.prompt(ids)
    expected = similarity(judge.verifier.picture(to_images(images), asked.layout.argmax(-1)), asked)
    assert torch.allclose(score, expected, atol=1e-5)
    assert len(judge(images, scenes, ids)) == 2


def test_verdicts_check_what_is_asked_and_nothing_else() -> None:
    grammar = Grammar()
    judge = Judge(make_verifier().eval(), grammar)
    scene = Scene((Part("key", size="small"), Part("star", "red")), "left of", "yellow")
    image = Renderer(grammar).render(scene)
    verdict = judge(image[None], [scene], torch.zeros(1, 16, dtype=torch.long))[0]
    assert set(verdict.checks) == {"background", "layout", "object 0", "size 0", "object 1", "colour 1"}
    assert verdict.checks["background"] and FLOOR <= verdict.evidence <= 0.0
    assert verdict.strict == (verdict.partial == 1.0)


def test_runs_resume(folder: Path, continued: Path, distilled: Path) -> None:
    assert "final" in run("autoencoder", "--work", str(folder.parent))
    assert "done" in run("denoiser", "--work", str(folder.parent))
    assert "done" in run("verifier", "--work", str(folder.parent))
    assert "done" in run("distill", "--work", str(continued.parent))
    weak = str(continued / "weak.safetensors")
    assert "| singles | 2 |" in run("evaluate", "--bundle", str(continued), "--adapter", weak)
    table = run("evaluate", "--bundle", str(continued))
    for text in ("| truth |", "| truth, decoded |", "| held-out | weak, 3 |", "denoiser, guidance 1 against 2"):
        assert text in table
    assert "| singles | 2 |" in run("evaluate", "--bundle", str(distilled), "--judge", str(folder))
    assert "guidance" in run("sheet", "--bundle", str(folder), "--out", str(folder.parent / "sheet.png"))
