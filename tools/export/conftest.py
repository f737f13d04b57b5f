"""The tiny pipelines, made once per run of the tests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

TOOLS = Path(__file__).parents[1]
sys.path[:0] = [str(TOOLS / "export"), str(TOOLS / "golden")]

import tiny_pipelines  # noqa: E402
from glint_export import exporter  # noqa: E402


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("pipelines")
    return {family: tiny_pipelines.saved(family, folder) for family in tiny_pipelines.PIPELINES}


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Leaves out of the exports of a test what it does not look at: only("denoiser")."""
    parts_of = exporter.parts_of

    def keep(*beginnings: str) -> None:
        def kept(*arguments: object) -> list[object]:
            return [part for part in parts_of(*arguments) if part.name.startswith(beginnings)]

        monkeypatch.setattr(exporter, "parts_of", kept)

    return keep
