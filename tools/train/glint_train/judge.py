"""Scores pictures against their prompts: by the verifier, and by plain arithmetic on pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .grammar import Grammar, Scene
from .layout import SIZES, Labeller, Labels
from .metrics import SHIFTS, background_right
from .objects import COLOURS
from .render import Renderer
from .run import to_images
from .scorer import make_verifier, similarity
from .verifier import Reading, Verifier
from .warm_start import component_state

FLOOR = -5.0
FOREGROUND = 0.12  # largest channel difference from the background's colour, of 1


@dataclass
class Verdict:
    """One picture: what was asked for and whether it is right, the scorer's similarity, and the evidence.

    The evidence is the mean log-probability of what is asked, each at least `FLOOR`: where answers are sure
    it says little, and near their boundaries it says more than right or wrong.
    """

    checks: dict[str, bool]
    similarity: float
    evidence: float

    @property
    def strict(self) -> bool:
        return all(self.checks.values())

    @property
    def partial(self) -> float:
        return sum(self.checks.values()) / len(self.checks)


class Judge:
    """Scenes against a verifier's reading of pictures; background and single objects' size by arithmetic."""

    def __init__(self, verifier: Verifier, grammar: Grammar) -> None:
        self.verifier, self.label, self.renderer = verifier, Labeller(grammar), Renderer(grammar)

    @classmethod
    def of_bundle(cls, bundle: Path, grammar: Grammar) -> Judge:
        """The judge that reads with the verifier in a bundle's scorer; a SystemExit if there is none."""
        state = {
            key.removeprefix("verifier."): value for key, value in component_state(bundle, "scorer").items()
        }
        verifier = make_verifier(grammar).eval()
        verifier.load_state_dict(state)
        return cls(verifier, grammar)

    @torch.no_grad()
    def __call__(self, images: np.ndarray, scenes: list[Scene], ids: Tensor) -> list[Verdict]:
        """Verdicts on uint8 pictures [N, 64, 64, 3], each read in the layout its ids [N, 16] ask for."""
        verdicts = []
        for start in range(0, len(images), 32):
            part = slice(start, start + 32)
            labels = [self.label(scene) for scene in scenes[part]]
            shown = self.verifier.picture(
                to_images(images[part]), torch.tensor([one.layout for one in labels])
            )
            near = similarity(shown, self.verifier.prompt(ids[part])).tolist()
            for i, one in enumerate(labels):
                answers = list(self.answers(shown, i, one))
                image, scene = images[start + i], scenes[start + i]
                checks = {name: int(logits.argmax()) == wanted for name, logits, wanted in answers}
                checks["background"] = background_right(image, scene)
                if not labels[i].layout and "size 0" in checks:
                    checks["size 0"] = size_right(image, scene, self.renderer)
                evidence = [
                    max(FLOOR, float(logits.log_softmax(-1)[wanted])) for _, logits, wanted in answers
                ]
                verdicts.append(Verdict(checks, near[i], float(np.mean(evidence))))
        return verdicts

    def answers(self, shown: Reading, i: int, labels: Labels) -> Iterator[tuple[str, Tensor, int]]:
        """Name, logits and wanted class of every attribute asked of picture i."""
        if labels.layout:
            yield "layout", shown.layout[i], labels.layout
        for number, slot in enumerate((shown.first, shown.second)):
            if labels.objects[number] >= 0:
                yield f"object {number}", self.verifier.object_logits(slot.vector[i]), labels.objects[number]
            # Class 0, the font's own colours, answers no question for a colour.
            if labels.asked_colours[number]:
                yield f"colour {number}", slot.colour[i, 1:], labels.colours[number] - 1
            if labels.asked_sizes[number]:
                yield f"size {number}", slot.size[i], labels.sizes[number]


def foreground(image: np.ndarray) -> np.ndarray:
    """Pixels [64, 64], bool, that differ from the corners' median colour in a uint8 picture [64, 64, 3].

    An object that fills the corners is taken for background, as in `background_right`.
    """
    values = image.astype(np.float32) / 255.0
    corners = np.concatenate([values[y : y + 3, x : x + 3].reshape(-1, 3) for y in (0, 61) for x in (0, 61)])
    return np.abs(values - np.median(corners, axis=0)).max(-1) > FOREGROUND


def longest_side(image: np.ndarray) -> int:
    """The longer side in pixels of the box around rows and columns with at least two pixels of foreground."""
    shown = foreground(image)
    used = [np.flatnonzero(shown.sum(axis) >= 2) for axis in (0, 1)]
    return max((int(place[-1] - place[0]) + 1 for place in used if place.size), default=0)


def size_right(image: np.ndarray, scene: Scene, renderer: Renderer) -> bool:
    """Whether a single object is nearest to its render in the asked size, of "small", none and "big"."""

    def distance(size: str | None) -> int:
        truth = renderer.render(replace(scene, parts=(replace(scene.parts[0], size=size),)))
        return abs(longest_side(truth) - longest_side(image))

    return min(SIZES, key=distance) == scene.parts[0].size


def mask_iou(image: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of the foregrounds, the best over shifts of up to 3 pixels."""
    made, wanted = foreground(image), foreground(truth)
    shifted = [np.roll(wanted, (dy, dx), axis=(0, 1)) for dy in SHIFTS for dx in SHIFTS]
    return max(float((made & one).sum() / max(1, (made | one).sum())) for one in shifted)


def colour_right(image: np.ndarray, scene: Scene, renderer: Renderer) -> bool | None:
    """Whether a single object's mean colour is nearest to its render in the asked one; None: none asked."""
    part = scene.parts[0]
    if len(scene.parts) > 1 or part.colour is None or not foreground(image).any():
        return None

    def distance(colour: str) -> float:
        truth = renderer.render(replace(scene, parts=(replace(part, colour=colour),)))
        means = [picture[foreground(picture)].mean(0) for picture in (image, truth)]
        return float(np.square(means[0] - means[1]).sum())

    candidates = [c for c in (*COLOURS, part.colour) if c != scene.background]
    return min(candidates, key=distance) == part.colour
