"""The page of results says what the figures say."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import results_page


def row(kind: str, difference: float, p: float, **more: object) -> dict:
    return {
        "method": "apg", "baseline": kind, "scorer": "scorer", "win_rate": 0.625,
        "win_rate_interval": [0.5, 0.75], "difference": difference, "p_holm": p,
        "judge_chose_method": False, "judge_chose_baseline": False, **more,
    }  # fmt: skip


def arm(name: str, scale: float | None) -> dict:
    return {
        "name": name, "evaluations": 40.0, "seconds": 1800.0, "effective_guidance": {"signed": scale},
        "guidance": 3.0,
        "scores": {"scorer": {"mean": 0.75, "interval": [0.7, 0.8]}},
    }  # fmt: skip


def results(rows: list[dict]) -> dict:
    return {
        "format": 1,
        "evaluation": {
            "model": {"name": "tiny"}, "scorers": ["scorer"], "torch": "2.11.0",
            "options": {"steps": 20, "guidance": 3.0, "seed": 7, "batch": 8, "device": "cpu"},
        },
        "prompts": ["a", "b"], "seeds": 2, "pairs": 4, "arms": [arm("plain", None), arm("apg", 2.5)],
        "comparisons": rows, "omitted": ["'apg' against best-of-k (scorer): steps"],
    }  # fmt: skip


def test_page(tmp_path: Path) -> None:
    chosen = row("matched-evaluations", 0.1, 0.2, judge_chose_baseline=True)
    rows = [row("matched-guidance", 0.1, 0.01), chosen]
    (tmp_path / "results.json").write_text(json.dumps(results(rows)))
    text = results_page.page([tmp_path])
    words = " ".join(text.split())
    assert "2 prompts with 2 noises each, 4 pairs, from seed 7; 20 steps, guidance 3, batches of 8" in words
    assert "Sampling took 1.00 hours." in words
    assert "No method is better than plain sampling both of the same scale and of the same cost." in words
    assert "Better than same scale only: `apg`." in words
    assert "Plain sampling by guidance scale: 3: 0.7500." in words
    assert max(len(line) for line in text.splitlines() if not line.startswith("|")) <= 118
    line = next(line for line in text.splitlines() if line.startswith("| `apg`"))
    cells = "| 40 | 2.50 | 0.7500 | - | 62.5 [50, 75], p 0.01 | 62.5 [50, 75]*, p 0.2 | - |"
    assert line == f"| `apg` {cells} better than same scale only |"
    assert "Not compared: 'apg' against best-of-k (scorer): steps" in text


@pytest.mark.parametrize(
    ("differences", "p", "expected"),
    [
        ((0.1, 0.1), (0.01, 0.04), "better than both"),
        ((0.1, 0.1), (0.06, 0.5), "no difference found"),
        ((-0.1, 0.1), (0.01, 0.5), "worse than same scale"),
        ((-0.1, -0.1), (0.01, 0.01), "worse than same scale and same cost"),
        ((-0.1, 0.1), (0.01, 0.01), "better than same cost only"),
    ],
)
def test_verdict(differences: tuple, p: tuple, expected: str) -> None:
    rows = [row(kind, d, q) for kind, d, q in zip(results_page.MATCHED, differences, p)]
    assert results_page.verdict(rows) == expected
    chosen = [{**r, "judge_chose_method": True} for r in rows]
    assert results_page.verdict(chosen) == expected + " (this judge chose its noises)"


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(SystemExit, match="expected results of glint eval"):
        results_page.page([tmp_path])
