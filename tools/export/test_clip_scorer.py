"""A tiny random CLIP scores as in transformers once it is a scorer of glint's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_pipelines
import torch
from glint_export.clip_scorer import export_scorer, main, prepared
from glint_export.errors import ExportError
from PIL import Image
from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

PREPARED = {"size": {"shortest_edge": 40}, "crop_size": {"height": 32, "width": 32}}


def saved_clip(folder: Path, **preparation: object) -> Path:
    torch.manual_seed(5)
    tokenizer = tiny_pipelines.clip_tokenizer()
    config = CLIPConfig(
        text_config={
            "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2,
            "num_attention_heads": 4, "max_position_embeddings": 24, "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4,
            "image_size": 32, "patch_size": 8,
        },
        projection_dim=16,
    )  # fmt: skip
    model = CLIPModel(config)
    with torch.no_grad():  # large enough that every input matters
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(6.0)
        model.logit_scale.fill_(1.0)
    model.save_pretrained(folder)
    CLIPImageProcessor(**(PREPARED | preparation)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_scores_are_those_of_transformers(tmp_path: Path) -> None:
    source = saved_clip(tmp_path / "clip")
    export_scorer(source, tmp_path / "scorer", "tiny")  # compares the scores and refuses what differs
    manifest = json.loads((tmp_path / "scorer/scorer.json").read_text())
    assert manifest["name"] == "tiny"
    assert manifest["scorer"]["inputs"] == ["image", "ids"]
    assert manifest["tokenizer"]["max_tokens"] == 24
    scorer = torch.jit.load(str(tmp_path / "scorer/scorer.pt"))
    pictures = torch.rand(3, 3, 50, 40)
    ids = torch.randint(5, 300, (3, 24))
    one = torch.cat([scorer(pictures[i : i + 1], ids[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(scorer(pictures, ids), one, rtol=0, atol=1e-5)
    assert float(one.max() - one.min()) > 1e-2  # the score depends on what it is given


def test_pictures_are_resized_as_pillow_does() -> None:
    for height, width, edge in ((30, 47, 16), (30, 47, 100), (64, 64, 224), (90, 80, 50), (300, 100, 99)):
        levels = torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8)
        short = min(height, width)
        size = (edge * width // short, edge * height // short)
        resized = Image.fromarray(levels[0].permute(1, 2, 0).numpy()).resize(size, Image.Resampling.BICUBIC)
        expected = torch.from_numpy(np.asarray(resized).copy()).permute(2, 0, 1)[None]
        assert prepared(levels / 127.5 - 1.0, edge, size[1], size[0]).equal(expected.float())


@pytest.mark.parametrize(
    ("preparation", "message"),
    [
        ({"do_center_crop": False}, "expected resizing, a crop"),
        ({"size": {"height": 32, "width": 32}}, "expected shortest_edge"),
        ({"resample": 2}, "resample: expected 3"),
        ({"rescale_factor": 0.5}, "rescale_factor"),
    ],
)
def test_other_preparations_are_refused(tmp_path: Path, preparation: dict, message: str) -> None:
    source = saved_clip(tmp_path / "clip", **preparation)
    with pytest.raises(ExportError, match=message):
        export_scorer(source, tmp_path / "scorer")


def test_other_models_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "siglip"}')
    monkeypatch.setattr("sys.argv", ["clip_scorer", str(tmp_path), str(tmp_path / "out")])
    assert main() == 1
    assert "expected a CLIP, got model_type 'siglip'" in capsys.readouterr().err
