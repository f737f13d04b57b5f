"""Scores of pictures against what their prompts ask for: by the verifier, and by plain arithmetic on pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .grammar import Grammar, Scene
from .layout import Labeller, Labels
from .metrics import SHIFTS
from .objects import COLOURS
from .render import Renderer
from .run import to_images
from .verifier import Reading, Slot, Verifier, similarity
from .warm_start import component_state
from .words import WordTokenizer

FOREGROUND = 0.12  # largest channel difference from the background's colour, of 1


@dataclass
class Verdict:
    """One picture: every asked attribute right, the share of them that is, and the continuous similarity."""

    strict: bool
    partial: float
    similarity: float


class Judge:
    """The verifier of a bundle's scorer."""

    def __init__(self, bundle: Path, grammar: Grammar, tokenizer: WordTokenizer) -> None:
        self.label, self.tokenizer = Labeller(grammar), tokenizer
        state = {key.removeprefix("verifier."): value for key, value in component_state(bundle, "scorer").items()}
        self.verifier = Verifier(tokenizer.size, len(self.label.names), len(self.label.colours)).eval()
        self.verifier.load_state_dict(state)

    def encode(self, prompts: list[str]) -> Tensor:
        return torch.from_numpy(np.stack([self.tokenizer.encode(prompt) for prompt in prompts]))

    @torch.no_grad()
    def __call__(self, images: np.ndarray, scenes: list[Scene], prompts: list[str]) -> list[Verdict]:
        """Verdicts of uint8 pictures [N, 64, 64, 3], each read in the layout that was asked for."""
        verdicts = []
        for start in range(0, len(images), 32):
            part = slice(start, start + 32)
            labels = [self.label(scene) for scene in scenes[part]]
            shown = self.verifier.picture(to_images(images[part]), torch.tensor([one.layout for one in labels]))
            near = similarity(shown, self.verifier.prompt(self.encode(prompts[part])))
            for i, one in enumerate(labels):
                right = self.right(shown, i, one)
                verdicts.append(Verdict(all(right), sum(right) / len(right), float(near[i])))
        return verdicts

    def right(self, shown: Reading, i: int, labels: Labels) -> list[bool]:
        """The asked attributes of picture i; a background is always asked for: white, if none is named."""
        right = [int(shown.background[i].argmax()) == labels.background]
        if labels.layout:
            right.append(int(shown.layout[i].argmax()) == labels.layout)
        for number, slot in enumerate((shown.first, shown.second)):
            if labels.objects[number] >= 0:
                right += self.slot_right(slot, i, number, labels)
        return right

    def slot_right(self, slot: Slot, i: int, number: int, labels: Labels) -> list[bool]:
        right = [int(self.verifier.object_logits(slot.vector[i]).argmax()) == labels.objects[number]]
        if labels.asked_colours[number]:
            right.append(int(slot.colour[i].argmax()) == labels.colours[number])
        if labels.asked_sizes[number]:
            right.append(int(slot.size[i].argmax()) == labels.sizes[number])
        return right


def foreground(image: np.ndarray) -> np.ndarray:
    """Pixels [64, 64] that differ from the median colour of the corners of a uint8 picture."""
    values = image.astype(np.float32) / 255.0
    corners = np.concatenate([values[y : y + 3, x : x + 3].reshape(-1, 3) for y in (0, 61) for x in (0, 61)])
    return np.abs(values - np.median(corners, axis=0)).max(-1) > FOREGROUND


def mask_iou(image: np.ndarray, truth: np.ndarray) -> float:
    """Intersection over union of the foregrounds, the best over shifts of up to 3 pixels."""
    made, wanted = foreground(image), foreground(truth)
    shifted = [np.roll(wanted, (dy, dx), axis=(0, 1)) for dy in SHIFTS for dx in SHIFTS]
    return max(float((made & one).sum() / max(1, (made | one).sum())) for one in shifted)


def colour_right(image: np.ndarray, scene: Scene, renderer: Renderer) -> bool | None:
    """Whether the mean colour of a single object is nearest to its render in the asked colour; None: no colour asked."""
    part = scene.parts[0]
    if len(scene.parts) > 1 or part.colour is None or not foreground(image).any():
        return None

    def distance(colour: str) -> float:
        truth = renderer.render(replace(scene, parts=(replace(part, colour=colour),)))
        means = [picture[foreground(picture)].mean(0) for picture in (image, truth)]
        return float(np.square(means[0] - means[1]).sum())

    candidates = [c for c in (*COLOURS, part.colour) if c != scene.background]
    return min(candidates, key=distance) == part.colour
