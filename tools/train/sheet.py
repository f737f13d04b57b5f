"""Samples a bundle from its files and writes contact sheets; `--sweep` prints measures by guidance scale.

    $(tools/env) tools/train/sheet.py --bundle models/emoji-flow --out sheet.png [--count 100]
        [--kind singles|composed|held-out]
    $(tools/env) tools/train/sheet.py --bundle models/emoji-flow --sweep 1 2 3 4
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from glint_train.bundle import Bundle
from glint_train.grammar import Grammar, Scene
from glint_train.metrics import Retrieval, background_right, shifted_rmse
from glint_train.prompts import draw_prompts
from glint_train.render import Renderer

CELL, CAPTION = 128, 14


def contact_sheet(images: np.ndarray, captions: list[str] | None, columns: int) -> Image.Image:
    """Pictures [N, 64, 64, 3] doubled in size, with captions below when given."""
    height = CELL + (CAPTION if captions else 0)
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * CELL, rows * height), "white")
    pen = ImageDraw.Draw(sheet)
    for i, image in enumerate(images):
        x, y = i % columns * CELL, i // columns * height
        sheet.paste(Image.fromarray(image).resize((CELL, CELL), Image.Resampling.NEAREST), (x, y))
        if captions:
            pen.text((x + 2, y + CELL + 1), captions[i][:24], fill="black")
    return sheet


def measures(
    images: np.ndarray,
    scenes: list[Scene],
    names: list[str],
    kind: str,
    renderer: Renderer,
    retrieval: Retrieval,
) -> str:
    """One line: error against the truth, background, and for singles how often the own glyph is nearest."""
    error = np.mean([shifted_rmse(image, renderer.render(scene)) for image, scene in zip(images, scenes)])
    background = np.mean([background_right(image, scene) for image, scene in zip(images, scenes)])
    line = f"rmse {error:.4f} background {background:.1%}"
    if kind == "singles":
        right = np.mean([found == name for found, name in zip(retrieval.nearest(images), names)])
        line += f" nearest glyph is the own {right:.1%}"
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--kind", choices=("singles", "composed", "held-out"), default="singles")
    parser.add_argument("--prompts", nargs="*", help="these prompts instead of drawn ones")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument(
        "--seed", type=int, default=2024, help="of the drawn prompts; noises always begin with seed 0"
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, help="default: the bundle's")
    parser.add_argument("--sweep", type=float, nargs="*", help="print measures at these guidance scales")
    parser.add_argument("--columns", type=int, default=10)
    parser.add_argument("--blind", action="store_true", help="no captions")
    parser.add_argument("--smoke", action="store_true", help="2 prompts, 2 steps")
    options = parser.parse_args()
    torch.set_num_threads(1)
    bundle, grammar = Bundle(options.bundle), Grammar()
    renderer = Renderer(grammar)
    count, steps = (2, 2) if options.smoke else (options.count, options.steps)
    scenes, prompts = draw_prompts(options.kind, count, options.seed, grammar)
    scales = options.sweep or [options.guidance or bundle.manifest["guidance"]["default"]]
    retrieval = Retrieval.build(grammar, renderer)
    for scale in scales:
        images = bundle.generate(options.prompts or prompts, scale, steps)
        if not options.prompts:
            print(
                f"guidance {scale:g}: {measures(images, scenes, prompts, options.kind, renderer, retrieval)}",
                flush=True,
            )
        if options.out:
            path = options.out if len(scales) == 1 else options.out.with_stem(f"{options.out.stem}_{scale:g}")
            captions = None if options.blind else options.prompts or prompts
            contact_sheet(images, captions, options.columns).save(path)


if __name__ == "__main__":
    main()
