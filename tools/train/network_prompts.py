"""Prompts to collect with: `prompts.txt`, `fine.txt` and `held_out.txt`, none of which differs from another by articles only.

    $(tools/env) tools/train/network_prompts.py --work DIR [--count 16000] [--fine 2000] [--held-out 100] [--seed 41]

All are drawn by the grammar of the training samples; 26 % of the draws are compositions, and more of many distinct prompts, since
single objects run out. A tenth of all prompts is held out, by a hash of their words.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np

from glint_train.grammar import Grammar

HELD_OUT_PERCENT, SALT, COMPOSED = 10, "glint-networks", 0.26


def words_of(prompt: str) -> str:
    return " ".join(word for word in prompt.split() if word not in ("a", "an"))


def held_out(prompt: str) -> bool:
    digest = hashlib.sha256(f"{SALT}|{words_of(prompt)}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < HELD_OUT_PERCENT


def draw(count: int, held_out_count: int, seed: int, grammar: Grammar) -> tuple[list[str], list[str]]:
    """Distinct prompts, and distinct held-out ones."""
    chosen: dict[bool, list[str]] = {False: [], True: []}
    wanted, seen, index = {False: count, True: held_out_count}, set(), 0
    while any(len(chosen[side]) < wanted[side] for side in chosen):
        rng = np.random.default_rng([seed, index])
        prompt = grammar.draw(rng, rng.random() < COMPOSED)[1]
        side, index = held_out(prompt), index + 1
        if words_of(prompt) not in seen and len(chosen[side]) < wanted[side]:
            seen.add(words_of(prompt))
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
    count, fine, held_out_count = (4, 2, 2) if options.smoke else (options.count, options.fine, options.held_out)
    options.work.mkdir(parents=True, exist_ok=True)
    drawn, held = draw(count + fine, held_out_count, options.seed, Grammar())
    for name, prompts in (("prompts", drawn[:count]), ("fine", drawn[count:]), ("held_out", held)):
        (options.work / f"{name}.txt").write_text("".join(f"{prompt}\n" for prompt in prompts))
        print(f"{name}.txt {len(prompts)} prompts")


if __name__ == "__main__":
    main()
