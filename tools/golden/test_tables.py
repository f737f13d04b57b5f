"""The tables and small files that these scripts write are what they would write today."""

from __future__ import annotations

import json

import html_entities
import labels
import peft_folders
import pytest
import torch


def test_html_entities_are_pythons() -> None:
    assert html_entities.FILE.read_text() == html_entities.source()


def test_mojibake_tables_are_ftfys() -> None:
    pytest.importorskip("ftfy", reason="ftfy is not among the pins: pip install ftfy==6.3.1")
    import mojibake_tables

    assert mojibake_tables.FILE.read_text() == mojibake_tables.source()


def test_labels_are_diffusers() -> None:
    torch.set_num_threads(1)
    assert json.loads(labels.FILE.read_text()) == labels.content()


def test_folders_are_pefts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["peft_folders.py", "--check"])
    assert peft_folders.main() == 0
