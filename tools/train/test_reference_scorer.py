"""The scorer that compares pictures with renders: 1 for the render, also shifted, and less for others."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from glint_train.bundle import WHAT_IS_A_BUNDLE
from glint_train.grammar import Grammar
from glint_train.prompts import evaluation_sets
from glint_train.render import Renderer
from glint_train.run import to_images
from glint_train.words import WordTokenizer, read_words
from reference_scorer import draw, main

BUNDLE = Path(__file__).parents[2] / "models/emoji-flow"


def test_reference_scorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["reference_scorer.py", "--out", str(tmp_path), "--count", "3", "--bundle", str(BUNDLE)]
    monkeypatch.setattr(sys, "argv", arguments)
    main()
    grammar = Grammar()
    scenes, renderer = draw(3, 7001, grammar), Renderer(grammar)
    prompts = (tmp_path / "prompts.txt").read_text().splitlines()
    assert prompts == list(scenes)
    assert all(grammar.scene_held_out(scene) for scene in scenes.values())
    assert not set(prompts) & set(evaluation_sets(grammar)["held-out"][1])

    scorer = torch.jit.load(str(tmp_path / "render.pt"))
    tokenizer = WordTokenizer(read_words(BUNDLE, WHAT_IS_A_BUNDLE))
    ids = torch.from_numpy(np.stack([tokenizer.encode(prompt) for prompt in prompts])).long()
    pictures = to_images(np.stack([renderer.render(scene) for scene in scenes.values()]))
    assert scorer(pictures, ids).min() > 1 - 1e-6
    assert scorer(torch.roll(pictures, (3, -4), (2, 3)), ids).min() > 1 - 1e-6
    others = scorer(pictures.roll(1, 0), ids)
    assert others.max() < 0.95
    noise = torch.randn(pictures.shape, generator=torch.Generator().manual_seed(1))
    noisy = (pictures + 0.2 * noise).clamp(-1, 1)
    assert (others < scorer(noisy, ids)).all()
    assert scorer(pictures[:1], torch.full((1, 16), 7)).isnan().all()
