#!/usr/bin/env python3
"""Writes a page of results from evaluations: results_page.py EVALUATION... > docs/results.md

EVALUATION is a folder of `glint eval`, or its results.json. The page has one section per evaluation: what was
run, plain sampling's scores, and every method against each of its baselines. It says which methods are better
than plain sampling of the same guidance and of the same cost, and which are not; a row counts as better or
worse only if its corrected p is below 0.05.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

BASELINES = {
    "plain": "plain",
    "matched-guidance": "same scale",
    "matched-evaluations": "same cost",
    "best-of-k": "best of k",
}
MATCHED = ("matched-guidance", "matched-evaluations")
ALPHA = 0.05


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


def section(results: dict[str, Any]) -> str:
    """Returns one evaluation as Markdown."""
    options = results["evaluation"]["options"]
    model = results["evaluation"]["model"]["name"]
    hours = sum(arm["seconds"] for arm in results["arms"]) / 3600
    lines = [
        f"## {model}",
        "",
        f"{len(results['prompts'])} prompts, {results['seeds']} noises each, {results['pairs']} pairs; "
        f"{options['steps']} steps, guidance {options['guidance']:g}. Sampling took {hours:.2f} hours.",
        "",
    ]
    arms = {arm["name"]: arm for arm in results["arms"]}
    methods = list(dict.fromkeys(row["method"] for row in results["comparisons"]))
    for scorer in results["evaluation"]["scorers"]:
        plain = results["arms"][0]["scores"][scorer]
        low, high = plain["interval"]
        lines += [
            f"Judged by `{scorer}`; plain sampling scores {plain['mean']:.4f} [{low:.4f}, {high:.4f}]. "
            "Win rates in %, ties half.",
            "",
            "| method | evaluations | scale | score | " + " | ".join(BASELINES.values()) + " | |",
            "|---" * (5 + len(BASELINES)) + "|",
        ]
        for method in methods:
            judged = [row for row in results["comparisons"] if row["scorer"] == scorer]
            rows = [row for row in judged if row["method"] == method]
            by_kind = {row["baseline"]: row for row in rows}
            arm = arms[method]
            scale = arm["effective_guidance"]["signed"]
            lines.append(
                f"| `{method}` | {arm['evaluations']:g} | {'-' if scale is None else f'{scale:.2f}'} | "
                f"{arm['scores'][scorer]['mean']:.4f} | "
                + " | ".join(cell(by_kind.get(kind)) for kind in BASELINES)
                + f" | {verdict(rows)} |"
            )
        lines.append("")
    lines += [f"Not compared: {reason}" for reason in results["omitted"]]
    return "\n".join(lines).rstrip() + "\n"


def page(places: list[Path]) -> str:
    """Returns the whole page."""
    head = (
        "# Results\n\nMeasured with `glint eval` ([how](evaluating.md)), written by "
        "`tools/results/results_page.py`. A star marks a baseline whose noises the judge chose.\n\n"
    )
    return head + "\n".join(section(load(place)) for place in places)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    print(page([Path(name) for name in sys.argv[1:]]), end="")
