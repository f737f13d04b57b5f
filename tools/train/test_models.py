"""Networks, optimizers, adapters and weights in 8 bits."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from glint_train.adapters import add_to, direction
from glint_train.grammar import Grammar
from glint_train.models import DistilledModel, FlowModel
from glint_train.muon import Muon
from glint_train.quantise import quantise
from glint_train.text import TextEncoder
from glint_train.trainer import optimise
from glint_train.words import WordTokenizer, build_vocabulary


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
    muon = Muon([{"params": [model[0].weight], "peak": 1.0}])
    optimise(model, [muon], lambda peak: peak, lambda: 1e3 * model(torch.ones(1, 4, 5, 5)).sum())
    assert sum(p.grad.square().sum() for p in model.parameters()) <= 1.0 + 1e-4


def test_adapters_lead_back_to_where_they_come_from() -> None:
    """At full rank the weak direction of weight 1 undoes the change; other weights stay as they are."""
    torch.manual_seed(0)
    names = (
        "transformer.transformer_blocks.0.attn.to_q.weight",
        "transformer.transformer_blocks.0.ff.net.2.weight",
    )
    start, end = ({name: torch.randn(6, 6) for name in names} for _ in range(2))
    adapter = direction(start, end, rank=6, scale=-1.0)
    assert set(adapter) == {names[0].replace("weight", f"lora_{side}.weight") for side in "AB"}
    moved = {name: value.clone() for name, value in end.items()}
    add_to(moved, adapter)
    assert torch.allclose(moved[names[0]], start[names[0]], atol=1e-5)
    assert torch.equal(moved[names[1]], end[names[1]])
    low = direction(start, end, rank=2, scale=1.0)
    best = torch.linalg.svdvals(end[names[0]] - start[names[0]])[2:].square().sum().sqrt()
    product = (
        low[names[0].replace("weight", "lora_B.weight")] @ low[names[0].replace("weight", "lora_A.weight")]
    )
    assert torch.allclose((end[names[0]] - start[names[0]] - product).norm(), best, rtol=1e-4)


def test_words_belong_to_one_phrase() -> None:
    """A phrase's embeddings ignore the other phrase's words; the relation says which place is whose."""
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
    assert phrase[0].tolist() == [0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 1, 2, 0, 1, 2, 0]
    assert torch.equal(role, phrase)
    assert relation[0].tolist() == [True, False, False, False]
    plain = encoder.phrases(torch.from_numpy(tokenizer.encode("right arrow"))[None])
    assert not plain[0].any() and not plain[2].any()
    assert bool(torch.isfinite(tokens("")).all() and torch.isfinite(tokens("above a star")).all())
