"""The tables and small files that these scripts write are what they would write today."""

from __future__ import annotations

import json

import html_entities
import labels
import mojibake_tables
import peft_folders
import pytest
import torch
import web_prompts


def test_html_entities_are_pythons() -> None:
    assert html_entities.FILE.read_text() == html_entities.source()


def test_mojibake_tables_are_ftfys() -> None:
    assert mojibake_tables.FILE.read_text() == mojibake_tables.source()


def test_labels_are_diffusers() -> None:
    torch.set_num_threads(1)
    assert json.loads(labels.FILE.read_text()) == labels.content()


def test_folders_are_pefts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["peft_folders.py", "--check"])
    assert peft_folders.main() == 0


def test_damaged_prompts_are_cleaned_as_by_the_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["web_prompts.py", "--check"])
    assert web_prompts.main() == 0
