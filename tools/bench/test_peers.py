"""Tests of the comparison with peers: what it measures is the bundled network, and where its table goes."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ("tools/bench", "tools/export", "tools/train")]

import peers  # noqa: E402


@torch.no_grad()
def test_the_module_of_emoji_flow_is_the_bundled_network():
    module, inputs = peers.network("emoji-b1")
    stored = torch.jit.load(str(ROOT / "models/emoji-flow/denoiser.pt")).float()
    assert inputs[0].shape[0] == 2  # with and without the prompt
    # The archive holds the tables of positions in half precision, too.
    torch.testing.assert_close(module.eval()(*inputs), stored(*inputs), rtol=0, atol=1e-3)


def test_a_table_replaces_the_one_between_the_marks():
    page = f"before\n{peers.BEGIN}\nold\n{peers.END}\nafter\n"
    assert peers.page_with(page, "new\n") == f"before\n{peers.BEGIN}\nnew\n{peers.END}\nafter\n"
    with pytest.raises(ValueError):
        peers.page_with("no marks", "new\n")


def test_the_page_has_the_marks():
    page = (ROOT / "docs/performance.md").read_text()
    assert page.count(peers.BEGIN) == page.count(peers.END) == 1
    assert page.index(peers.BEGIN) < page.index(peers.END)
