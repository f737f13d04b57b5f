"""What `glint list` says of a method is what the pages of results say."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import caches_page
import findings

RESULTS = """# Results
## emoji-flow
### Judged by `scorer`
| method | plain | |
|---|---|---|
| `apg:eta=0` | 55 | no difference found |
| `w2sd:form=direct` | 55 | worse than same cost |
| `w2sd` | 70 | better than both |
| `picky` | 90 | better than both (this judge chose its noises) |
| `cfg + apg` | 90 | better than both |
## What others measured
| SAG | 1 | 2 |
"""


def test_one_setting_better_than_both_baselines_is_a_gain() -> None:
    found = findings.of_methods(RESULTS)
    assert set(found) == {"apg", "w2sd"}
    assert found["apg"].startswith("no gain over plain sampling")
    assert found["w2sd"].startswith("better than plain sampling")


def row(name: str, distance: float, plain: float | None = None, difference: list | None = None) -> dict:
    return {
        "name": name, "evaluations": 20.0, "seconds": 1.0, "distance": distance, "plain": plain,
        "difference": difference, "similarity": [0.0, -0.1, 0.1], "strict": [0.0, -0.1, 0.1],
    }  # fmt: skip


def model(name: str, judged: bool) -> dict:
    full = row("20 steps", 0.0) | {"evaluations": 40.0, "similarity": None, "strict": None}
    return {
        "model": name, "steps": 20, "judged": judged, "prompts": 24, "processor": "AVX2",
        "rows": [
            full,
            row("10 steps", 0.05),
            row("taylor-seer:interval=2", 0.01, 0.05, [-0.04, -0.05, -0.03]),
            row("easy-cache:threshold=0.1", 0.06, 0.05, [0.01, -0.01, 0.03]),
            row("spectrum:interval=2", 0.06, 0.05, [0.01, 0.005, 0.03]),
            row("mag-cache:threshold=9", 0.5),
        ],
    }  # fmt: skip


def test_the_page_of_caches_is_read_back() -> None:
    text = caches_page.page([model("emoji-flow", True), model("emoji-xl", True), model("flux", False)])
    assert "- `taylor-seer` beats fewer steps at `interval=2`." in text
    assert "- `easy-cache` beats fewer steps at none of its 1 settings." in text
    assert findings.of_caches(text) == {
        "taylor-seer": "beats fewer steps on emoji-flow and emoji-xl",
        "easy-cache": "no better than fewer steps",
        "spectrum": "no better than fewer steps",
    }


def test_verdicts_need_an_interval_on_one_side() -> None:
    words = [caches_page.verdict(one) for one in model("emoji-flow", True)["rows"]]
    assert words == ["", "", "beats", "no difference", "worse", ""]


def test_the_plot_has_a_panel_for_each_model() -> None:
    image = caches_page.plot([model("emoji-flow", True), model("flux", False), model("wan", False)])
    assert image.size == (1240, 900)


def test_the_program_says_what_the_pages_say() -> None:
    assert findings.TARGET.read_text(encoding="utf-8") == findings.findings()
