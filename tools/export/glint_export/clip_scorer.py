"""python -m glint_export.clip_scorer CLIP_DIR OUT_DIR [--name NAME]

Turns a CLIP of transformers (also a fine-tuned one, such as PickScore) into a scorer for glint: a folder with
the network, which also prepares the pictures, its tokenizer, and scorer.json. The score of a picture is what
transformers calls logits_per_image.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoTokenizer, CLIPImageProcessor, CLIPModel

from .archives import load, sha256, write_torchscript
from .errors import ExportError, require
from .tokenizers import PROMPTS, write_clip

BICUBIC = 3
TOLERANCE = 1e-4


@torch.jit.script
def weights(size: int, out: int) -> Tensor:
    """Pillow's bicubic weights [out, size], whole multiples of 2^-22 as it has them for 8 bits."""
    stretch = max(size / out, 1.0)
    centre = (torch.arange(out, dtype=torch.float64) + 0.5) * (size / out)
    low = (centre - 2.0 * stretch + 0.5).trunc().clamp(min=0.0).unsqueeze(1)
    high = (centre + 2.0 * stretch + 0.5).trunc().clamp(max=float(size)).unsqueeze(1)
    at = torch.arange(size, dtype=torch.float64)
    x = ((at - centre.unsqueeze(1) + 0.5) * (1.0 / stretch)).abs()
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
    weight = torch.where(x < 1.0, near, torch.where(x < 2.0, far, torch.zeros_like(x)))
    weight = torch.where((at >= low) & (at < high), weight, torch.zeros_like(x))
    weight = weight / weight.cumsum(1)[:, -1:] * 4194304.0  # summed in order, as Pillow does
    return (weight + 0.5 * weight.sign()).trunc()


@torch.jit.script
def prepared(image: Tensor, edge: int, height: int, width: int) -> Tensor:
    """Pictures [B, 3, H, W] in [-1, 1] as CLIP's processor resizes and crops 8-bit ones; in [0, 255].

    In Pillow's own arithmetic, so that no pixel differs: a level moves a score. It resizes along the rows
    first, and pictures that are made smaller and more than twice as high as wide along the columns.
    """
    levels = ((image.clamp(-1.0, 1.0) + 1.0) * 127.5).round().double()
    h, w = image.shape[2], image.shape[3]
    if h <= w:
        size = [edge, edge * w // h]
    else:
        size = [edge * h // w, edge]
    columns_first = h > 2 * w and size[0] < h
    for columns in [columns_first, not columns_first]:
        if columns and size[0] != h:
            levels = weights(h, size[0]).to(levels.device).matmul(levels)
            levels = ((levels + 2097152.0) / 4194304.0).floor().clamp(0.0, 255.0)
        if not columns and size[1] != w:
            levels = levels.matmul(weights(w, size[1]).to(levels.device).t())
            levels = ((levels + 2097152.0) / 4194304.0).floor().clamp(0.0, 255.0)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return levels[:, :, top : top + height, left : left + width].to(image.dtype)


class ClipScorer(nn.Module):
    """(image [B, 3, H, W] in [-1, 1], ids [B, L]) to logits_per_image's diagonal, [B]."""

    def __init__(self, model: CLIPModel, processor: CLIPImageProcessor) -> None:
        super().__init__()
        check_processor(processor)
        self.vision, self.text = model.vision_model, model.text_model
        self.visual_projection, self.text_projection = model.visual_projection, model.text_projection
        self.edge = int(processor.size["shortest_edge"])
        self.height, self.width = int(processor.crop_size["height"]), int(processor.crop_size["width"])
        self.register_buffer("mean", 255.0 * torch.tensor(processor.image_mean).view(3, 1, 1))
        self.register_buffer("deviation", 255.0 * torch.tensor(processor.image_std).view(3, 1, 1))
        self.register_buffer("scale", model.logit_scale.detach().exp())

    def forward(self, image: Tensor, ids: Tensor) -> Tensor:
        pixels = (prepared(image, self.edge, self.height, self.width) - self.mean) / self.deviation
        shown = self.visual_projection(self.vision(pixel_values=pixels).pooler_output)
        asked = self.text_projection(self.text(input_ids=ids).pooler_output)
        return self.scale * (F.normalize(shown, dim=-1) * F.normalize(asked, dim=-1)).sum(-1)


def check_processor(processor: CLIPImageProcessor) -> None:
    """Refuses preparations of pictures that `prepared` does not make."""
    steps = (processor.do_resize, processor.do_center_crop, processor.do_rescale, processor.do_normalize)
    require(all(steps), "preprocessor: expected resizing, a crop in the centre, rescaling and normalising")
    size, crop, factor = processor.size, processor.crop_size, processor.rescale_factor
    require("shortest_edge" in size, f"preprocessor: size: expected shortest_edge, got {size}")
    require(
        int(processor.resample) == BICUBIC,
        f"preprocessor: resample: expected 3 (bicubic), got {processor.resample}",
    )
    require(
        abs(factor * 255 - 1) < 1e-6, f"preprocessor: rescale_factor: expected 1/255, got {factor}"
    )
    require(
        max(crop["height"], crop["width"]) <= size["shortest_edge"],
        f"preprocessor: crop_size {crop} is larger than the picture, {size}",
    )


def expected_scores(
    model: CLIPModel, processor: CLIPImageProcessor, pictures: Tensor, ids: Tensor
) -> Tensor:
    """What transformers says of uint8 pictures [B, H, W, 3], each under its own ids."""
    pixels = processor(list(pictures.numpy()), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        return model(input_ids=ids, pixel_values=pixels).logits_per_image.diagonal()


def check(path: Path, model: CLIPModel, processor: CLIPImageProcessor, ids: Tensor) -> None:
    """Refuses a file that scores otherwise than the model, at sizes other than the traced one too."""
    scorer, random = load(path, "torchscript"), torch.Generator().manual_seed(1)
    for size in ((64, 64), (96, 160), (300, 224)):
        coarse = torch.rand(len(ids), 3, 8, 8, generator=random)
        smooth = F.interpolate(coarse, size=size, mode="bilinear")
        pictures = (255 * smooth).round().to(torch.uint8)
        expected = expected_scores(model, processor, pictures.permute(0, 2, 3, 1), ids)
        with torch.no_grad():
            found = scorer(pictures.float() / 127.5 - 1.0, ids)
        difference = float((found - expected).abs().max())
        require(
            difference <= TOLERANCE * max(1.0, float(expected.abs().max())),
            f"{path}: scores of {size[0]} x {size[1]} pictures differ by {difference:.2g} from the model's",
        )


def export_scorer(source: Path, out: Path, name: str | None = None) -> None:
    """Writes the folder."""
    require((source / "config.json").is_file(), f"{source}: expected a model of transformers, no config.json")
    kind = json.loads((source / "config.json").read_text(encoding="utf-8")).get("model_type")
    require(kind == "clip", f"{source}: expected a CLIP, got model_type {kind!r}")
    model = CLIPModel.from_pretrained(source, torch_dtype=torch.float32).eval()
    processor = CLIPImageProcessor.from_pretrained(source)
    tokenizer = AutoTokenizer.from_pretrained(source)
    length = model.config.text_config.max_position_embeddings
    out.mkdir(parents=True, exist_ok=True)
    fields = write_clip(tokenizer, length, out / "tokenizer.json")
    words = tokenizer(list(PROMPTS), padding="max_length", max_length=length, truncation=True)
    ids = torch.tensor(words["input_ids"])
    write_torchscript(
        ClipScorer(model, processor).eval(), (torch.rand(2, 3, 72, 96), ids[:2]), out / "scorer.pt"
    )
    check(out / "scorer.pt", model, processor, ids)
    network = {"file": "scorer.pt", "sha256": sha256(out / "scorer.pt"), "backend": "torchscript"}
    words_file = {"file": "tokenizer.json", "sha256": sha256(out / "tokenizer.json"), **fields}
    manifest = {
        "format": 1,
        "name": name or source.resolve().name,
        "scorer": {**network, "dtype": "float32", "compute": "float32", "inputs": ["image", "ids"]},
        "tokenizer": words_file,
    }
    (out / "scorer.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="glint_export.clip_scorer", description="Turns a CLIP of transformers into a scorer for glint."
    )
    parser.add_argument("source", type=Path, metavar="CLIP_DIR")
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    parser.add_argument("--name", help="what the scorer is called in results; default: the folder's name")
    options = parser.parse_args()
    try:
        export_scorer(options.source, options.out, options.name)
    except ExportError as error:
        print(f"glint_export.clip_scorer: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
