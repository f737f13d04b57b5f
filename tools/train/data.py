"""Renders the training and the held-out samples and writes the vocabulary.

    $(tools/env) tools/train/data.py --work DIR [--samples 131072] [--seed 7] [--smoke]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from glint_train.grammar import HELD_OUT_PERCENT, HELD_OUT_SALT, Grammar
from glint_train.mix import is_composition
from glint_train.render import SIDE, Renderer
from glint_train.words import WordTokenizer, build_vocabulary


def write_split(work: Path, name: str, count: int, seed: int, grammar: Grammar, renderer: Renderer) -> None:
    """Writes images [N, 64, 64, 3] uint8, ids [N, 16] and prompts; sample i depends on (seed, i) only."""
    tokenizer = WordTokenizer(build_vocabulary(grammar))
    images = np.empty((count, SIDE, SIDE, 3), dtype=np.uint8)
    prompts = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        scene, prompt = grammar.draw(rng, is_composition(index))
        images[index] = renderer.render(scene, rng)
        prompts.append(prompt)
    ids = np.stack([tokenizer.encode(prompt) for prompt in prompts])
    np.save(work / f"{name}_images.npy", images)
    np.save(work / f"{name}_ids.npy", ids)
    (work / f"{name}_prompts.json").write_text(json.dumps(prompts))
    unknown = int((ids == 1).sum())
    print(f"{name}: {count} samples, {unknown} unknown words")


def write_held_out(path: Path, grammar: Grammar) -> None:
    """Writes the hold-out rule and every held-out (colour, object) pair."""
    from glint_train.objects import COLOURS

    pairs = [
        f"{colour} {name}"
        for name in grammar.names
        for colour in COLOURS
        if grammar.tint_held_out(colour, name)
    ]
    rule = {
        "rule": "sha256('|'.join((salt, *combination))), first 4 bytes big-endian, modulo 100, "
        "is below percent",
        "salt": HELD_OUT_SALT,
        "percent": HELD_OUT_PERCENT,
        "combinations": "(colour, object) and (first object, second object, relation)",
        "colour_object": pairs,
    }
    path.write_text(json.dumps(rule, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--samples", type=int, default=131072)
    parser.add_argument("--held-out-samples", type=int, default=512)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--held-out-list", type=Path, help="also write the list of held-out combinations")
    parser.add_argument("--smoke", action="store_true", help="64 samples only")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    grammar = Grammar()
    renderer = Renderer(grammar)
    train, held = (64, 16) if options.smoke else (options.samples, options.held_out_samples)
    write_split(options.work, "train", train, options.seed, grammar, renderer)
    write_split(options.work, "test", held, options.seed + 1000, grammar, renderer)
    WordTokenizer(build_vocabulary(grammar)).save(options.work / "tokenizer.json")
    if options.held_out_list:
        write_held_out(options.held_out_list, grammar)


if __name__ == "__main__":
    main()
