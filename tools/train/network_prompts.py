"""Prompts to collect with: `prompts.txt`, `fine.txt` and `held_out.txt`, which share no prompt.

    $(tools/env) tools/train/network_prompts.py --work DIR [--count 16000] [--fine 2000] [--held-out 100]
        [--seed 41]

Prompts that differ by articles only count as one. All are drawn by the grammar of the training samples,
without the prompts of evaluate.py. 26 % of the draws are compositions, and more of many distinct prompts,
since single objects run out. A tenth of all prompts is held out, by a hash of their words.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np

from glint_train.grammar import Grammar
from glint_train.prompts import evaluation_sets

PROMPTS_HELD_OUT_PERCENT, SALT, COMPOSED = 10, "glint-networks", 0.26


def without_articles(prompt: str) -> str:
    """What prompts are told apart by."""
    return " ".join(word for word in prompt.split() if word not in ("a", "an"))


def prompt_held_out(prompt: str) -> bool:
    """Whether the small networks are measured with a prompt and not trained with it."""
    digest = hashlib.sha256(f"{SALT}|{without_articles(prompt)}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < PROMPTS_HELD_OUT_PERCENT


def draw(count: int, held_out_count: int, seed: int, grammar: Grammar) -> tuple[list[str], list[str]]:
    """Distinct prompts and distinct held-out ones, none of them evaluate.py's: it scores new prompts."""
    chosen: dict[bool, list[str]] = {False: [], True: []}
    seen = {
        without_articles(prompt) for _, prompts in evaluation_sets(grammar).values() for prompt in prompts
    }
    wanted, index = {False: count, True: held_out_count}, 0
    while any(len(chosen[side]) < wanted[side] for side in chosen):
        rng = np.random.default_rng([seed, index])
        prompt = grammar.draw(rng, rng.random() < COMPOSED)[1]
        side, index = prompt_held_out(prompt), index + 1
        if without_articles(prompt) not in seen and len(chosen[side]) < wanted[side]:
            seen.add(without_articles(prompt))
            chosen[side].append(prompt)
    return chosen[False], chosen[True]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--count", type=int, default=16000)
    parser.add_argument("--fine", type=int, default=2000)
    parser.add_argument("--held-out", type=int, default=100)
    parser.add_argument("--seed", type=int, default=41)
    parser.add_argument("--smoke", action="store_true", help="4 prompts, 2 of each other kind")
    options = parser.parse_args()
    count, fine, held_out_count = (
        (4, 2, 2) if options.smoke else (options.count, options.fine, options.held_out)
    )
    options.work.mkdir(parents=True, exist_ok=True)
    drawn, held = draw(count + fine, held_out_count, options.seed, Grammar())
    for name, prompts in (("prompts", drawn[:count]), ("fine", drawn[count:]), ("held_out", held)):
        (options.work / f"{name}.txt").write_text("".join(f"{prompt}\n" for prompt in prompts))
        print(f"{name}.txt {len(prompts)} prompts")


if __name__ == "__main__":
    main()
