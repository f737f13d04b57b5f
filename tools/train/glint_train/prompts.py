"""The prompts that models are measured with."""

from __future__ import annotations

import numpy as np

from .grammar import Grammar, Scene

SETS = {"singles": 96, "composed": 96, "held-out": 64}
PROMPT_SEED, NOISE_SEED = 4096, 9000


def draw_prompts(kind: str, count: int, seed: int, grammar: Grammar) -> tuple[list[Scene], list[str]]:
    """Scenes and prompts by a seed: distinct single objects, or compositions trained or held out."""
    rng = np.random.default_rng(seed)
    if kind == "singles":
        chosen = rng.permutation(len(grammar.singles))[:count]
        scenes = [grammar.single(grammar.singles[i]) for i in chosen]
        return scenes, [grammar.singles[i].name for i in chosen]
    scenes = [grammar.draw_composition(rng, want_held_out=kind == "held-out") for _ in range(count)]
    return scenes, [grammar.prompt(scene) for scene in scenes]


def evaluation_sets(
    grammar: Grammar, counts: dict[str, int] = SETS
) -> dict[str, tuple[list[Scene], list[str]]]:
    """Scenes and prompts of evaluate.py by kind."""
    return {kind: draw_prompts(kind, count, PROMPT_SEED, grammar) for kind, count in counts.items()}
