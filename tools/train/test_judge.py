"""Checks of pictures: arithmetic on pixels, the judge and the scorer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from glint_train.bundle import Bundle
from glint_train.grammar import Grammar, Part, Scene
from glint_train.judge import FLOOR, Judge, colour_right, mask_iou, size_right
from glint_train.render import Renderer
from glint_train.run import to_images
from glint_train.scorer import make_verifier, similarity

MODEL = Path(__file__).parents[2] / "models/emoji-flow"


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


def test_judge_reads_the_scorer_of_a_bundle() -> None:
    """The scorer's number is the judge's similarity where the network reads the layout from the prompt."""
    bundle, grammar = Bundle(MODEL), Grammar()
    judge = Judge.of_bundle(MODEL, grammar)
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
    judge = Judge(make_verifier(grammar).eval(), grammar)
    scene = Scene((Part("key", size="small"), Part("star", "red")), "left of", "yellow")
    image = Renderer(grammar).render(scene)
    verdict = judge(image[None], [scene], torch.zeros(1, 16, dtype=torch.long))[0]
    assert set(verdict.checks) == {"background", "layout", "object 0", "size 0", "object 1", "colour 1"}
    assert verdict.checks["background"] and FLOOR <= verdict.evidence <= 0.0
    assert verdict.strict == (verdict.partial == 1.0)
