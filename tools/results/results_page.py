#!/usr/bin/env python3
"""Writes a page of results from evaluations: results_page.py EVALUATION... > docs/results.md

EVALUATION is a folder of `glint eval`, or its results.json. The page has one section per evaluation: what was
run, plain sampling's scores, and every method against each of its baselines. It says which methods are better
than plain sampling of the same guidance and of the same cost, and which are not; a row counts as better or
worse only if its corrected p is below 0.05.
"""

from __future__ import annotations

import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

BASELINES = {
    "plain": "plain",
    "matched-guidance": "same scale",
    "matched-evaluations": "same cost",
    "best-of-k": "best of k",
}
MATCHED = ("matched-guidance", "matched-evaluations")
PLAIN = re.compile(r"plain(:guidance=[^,+]*)?")
ALPHA = 0.05

HEAD = """# Results

Measured with `glint eval` ([how, and what the figures mean](evaluating.md)) and written from its figures by
`tools/results/results_page.py`; `tools/results/run DIR` does both. Every method is compared with plain
sampling of the same effective guidance scale, of the same cost (more or fewer steps), and with the best of k
pictures for the same cost, on the same prompts and noises. Prompts are compositions that the model was not
trained with; nothing was tuned to them. `render` compares a picture with the true render of its prompt and
knows nothing of the model's own `scorer`. A star marks a baseline whose noises the judge chose.

A method that is not called better was not shown to be: few pairs find large differences only, which the
intervals tell.

"""

# Win rates averaged over HPSv2, PickScore, ImageReward, aesthetic score and CLIPScore, SDXL, Pick-a-Pic.
PUBLISHED = """
## What others measured

Guidance Matters ([arXiv:2602.22570](https://arxiv.org/abs/2602.22570)) compared eight methods on SDXL with
CFG at its scale, 5.5, and with CFG at the method's own effective scale (mean win rates of five scorers on
Pick-a-Pic, as secondary reports of the paper give them; ties count as losses there):

| method | effective scale | against CFG, % | at the same scale, % |
|---|---|---|---|
| Z-Sampling | 13.51 | 73 | 69 |
| CFG++ | 8.91 | 61 | 58 |
| SAG | 8.14 | 60 | 52 |
| TDG | 8.27 | 57 | 48 |
| SEG | 6.10 | 52 | 47 |
| PAG | 5.98 | 52 | 45 |
| FreeU | 7.47 | 46 | 40 |
| APG | 15.05 | 41 | 38 |

The scale of APG is doubtful: the released code measures it against a prediction in another space.
The papers of the methods themselves report, against CFG at its own scale, win rates up to 94 % for Z-Sampling
(DreamShaper, HPSv2) and up to 90 % for W2SD (Juggernaut-XL), and higher mean scores for Golden Noise
(HPSv2 28.48 to 28.68 on SDXL). A small model that has memorised its pictures is not SDXL: neither confirms
nor refutes the other.
"""


def load(place: Path) -> dict[str, Any]:
    """Returns the results of an evaluation."""
    file = place / "results.json" if place.is_dir() else place
    results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    if results.get("format") != 1 or "comparisons" not in results:
        raise SystemExit(f"{place}: expected results of glint eval, format 1")
    return results


def verdict(rows: list[dict[str, Any]]) -> str:
    """Says whether a method beats both plain sampling of its scale and of its cost."""
    matched = [row for row in rows if row["baseline"] in MATCHED]
    better = [row for row in matched if row["p_holm"] < ALPHA and row["difference"] > 0]
    worse = [row for row in matched if row["p_holm"] < ALPHA and row["difference"] < 0]
    chosen = " (this judge chose its noises)" if any(row["judge_chose_method"] for row in rows) else ""
    if matched and len(better) == len(matched):
        return "better than both" + chosen
    if better:
        return "better than " + BASELINES[better[0]["baseline"]] + " only" + chosen
    if worse:
        return "worse than " + " and ".join(BASELINES[row["baseline"]] for row in worse) + chosen
    return "no difference found" + chosen


def cell(row: dict[str, Any] | None) -> str:
    """Returns a win rate with its interval and the corrected p."""
    if row is None:
        return "-"
    low, high = row["win_rate_interval"]
    mark = "*" if row["judge_chose_baseline"] else ""
    return f"{100 * row['win_rate']:.1f} [{100 * low:.0f}, {100 * high:.0f}]{mark}, p {row['p_holm']:.3g}"


def findings(verdicts: dict[str, str]) -> list[str]:
    """Says in words which methods help and which do not."""
    groups: dict[str, list[str]] = {}
    for method, found in verdicts.items():
        groups.setdefault(found, []).append(f"`{method}`")
    helps = groups.pop("better than both", [])
    lines = [
        f"Better than plain sampling of the same scale and than that of the same cost: {', '.join(helps)}."
        if helps
        else "No method is better than plain sampling both of the same scale and of the same cost."
    ]
    lines += [f"{found[0].upper() + found[1:]}: {', '.join(methods)}." for found, methods in groups.items()]
    return [*wrapped(" ".join(lines)), ""]


def wrapped(text: str) -> list[str]:
    """Breaks prose into lines as the other pages have them."""
    return textwrap.wrap(text, 110, break_long_words=False, break_on_hyphens=False)


def section(results: dict[str, Any]) -> str:
    """Returns one evaluation as Markdown."""
    options = results["evaluation"]["options"]
    model = results["evaluation"]["model"]["name"]
    hours = sum(arm["seconds"] for arm in results["arms"]) / 3600
    noises = "one noise" if results["seeds"] == 1 else f"{results['seeds']} noises"
    conditions = (
        f"{len(results['prompts'])} prompts with {noises} each, {results['pairs']} pairs, from seed "
        f"{options['seed']}; {options['steps']} steps, guidance {options['guidance']:g}, batches of "
        f"{options['batch']}, torch {results['evaluation']['torch']} on {options['device']}. Sampling took "
        f"{hours:.2f} hours."
    )
    lines = [f"## {model}", "", *wrapped(conditions), ""]
    arms = {arm["name"]: arm for arm in results["arms"]}
    methods = list(dict.fromkeys(row["method"] for row in results["comparisons"]))
    for scorer in results["evaluation"]["scorers"]:
        plain = results["arms"][0]["scores"][scorer]
        low, high = plain["interval"]
        lines += [f"### Judged by `{scorer}`", ""]
        lines += wrapped(
            f"Plain sampling scores {plain['mean']:.4f} [{low:.4f}, {high:.4f}]. Of a method's pairs with "
            "each baseline the table has the share it wins, in %, ties counted half, with the 95 % interval, "
            "and p for a mean difference of zero, corrected for all rows of the table."
        )
        judged = [row for row in results["comparisons"] if row["scorer"] == scorer]
        verdicts = {
            method: verdict([row for row in judged if row["method"] == method]) for method in methods
        }
        lines += ["", *findings(verdicts)]
        lines += [
            "| method | evaluations | scale | score | " + " | ".join(BASELINES.values()) + " | |",
            "|---" * (5 + len(BASELINES)) + "|",
        ]
        for method in methods:
            rows = [row for row in judged if row["method"] == method]
            by_kind = {row["baseline"]: row for row in rows}
            arm = arms[method]
            scale = arm["effective_guidance"]["signed"]
            lines.append(
                f"| `{method}` | {arm['evaluations']:g} | {'-' if scale is None else f'{scale:.2f}'} | "
                f"{arm['scores'][scorer]['mean']:.4f} | "
                + " | ".join(cell(by_kind.get(kind)) for kind in BASELINES)
                + f" | {verdicts[method]} |"
            )
        lines += ["", *curve(results, scorer)]
    lines += [f"Not compared: {reason}" for reason in results["omitted"]]
    return "\n".join(lines).rstrip() + "\n"


def curve(results: dict[str, Any], scorer: str) -> list[str]:
    """Plain sampling's scores at the scales that were sampled, so that a method's scale can be placed."""
    plain = [arm for arm in results["arms"] if PLAIN.fullmatch(arm["name"])]
    plain.sort(key=lambda arm: arm["guidance"])
    points = [f"{arm['guidance']:g}: {arm['scores'][scorer]['mean']:.4f}" for arm in plain]
    return [*wrapped(f"Plain sampling by guidance scale: {', '.join(points)}."), ""]


def page(places: list[Path]) -> str:
    """Returns the whole page."""
    return HEAD + "\n".join(section(load(place)) for place in places) + PUBLISHED


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    print(page([Path(name) for name in sys.argv[1:]]), end="")
