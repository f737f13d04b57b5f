#!/usr/bin/env python3
"""Draws docs/images/attention.png from the CSV of glint_bench_attention.

Usage: attention_plot.py CSV [PNG]
Left to right: tokens; upwards: how many times faster than dense attention, both on logarithmic axes. One
panel per head size, one line per density; the thin line is what the operation count allows.
"""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

DEFAULT = Path(__file__).resolve().parents[2] / "docs/images/attention.png"
WIDTH, HEIGHT, LEFT, TOP, BOTTOM, GAP = 1200, 520, 70, 60, 70, 60
COLOURS = {0.05: "#0072b2", 0.15: "#d55e00", 0.3: "#009e73", 1.0: "#666666"}
RATIOS = (1, 2, 4, 8, 16)

Rows = list[dict[str, str]]


class Panel:
    """Axes for one head size."""

    def __init__(self, draw: ImageDraw.ImageDraw, left: int, right: int, tokens: list[int]) -> None:
        self.draw, self.left, self.right, self.tokens = draw, left, right, tokens
        self.font, self.small = ImageFont.load_default(20), ImageFont.load_default(15)

    def x(self, tokens: int) -> float:
        low, high = math.log2(self.tokens[0]), math.log2(self.tokens[-1])
        return (
            self.left + 20 + (self.right - self.left - 130) * (math.log2(tokens) - low) / max(high - low, 1)
        )

    def y(self, ratio: float) -> float:
        low, high = math.log2(0.75), math.log2(RATIOS[-1] * 1.15)
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * (math.log2(ratio) - low) / (high - low)

    def axes(self, title: str) -> None:
        for ratio in RATIOS:
            self.draw.line([(self.left, self.y(ratio)), (self.right - 90, self.y(ratio))], "#dddddd", 1)
            self.draw.text((self.left - 8, self.y(ratio)), f"{ratio}x", "black", self.small, anchor="rm")
        for tokens in self.tokens:
            self.draw.text(
                (self.x(tokens), HEIGHT - BOTTOM + 12), str(tokens), "black", self.small, anchor="mt"
            )
        self.draw.text(((self.left + self.right - 90) / 2, 18), title, "black", self.font, anchor="mt")
        self.draw.text(
            ((self.left + self.right - 90) / 2, HEIGHT - 26), "tokens", "black", self.small, anchor="mm"
        )

    def line(self, rows: Rows, density: float) -> None:
        colour = COLOURS[density]
        points = [(self.x(int(r["tokens"])), self.y(float(r["ratio"]))) for r in rows]
        bound = [(self.x(int(r["tokens"])), self.y(float(r["bound"]))) for r in rows]
        self.draw.line(bound, colour, 1)
        self.draw.line(points, colour, 4, joint="curve")
        for x, y in points:
            self.draw.ellipse([x - 5, y - 5, x + 5, y + 5], colour)
        self.draw.text((points[-1][0] + 12, points[-1][1]), f"{density:g}", colour, self.font, anchor="lm")


def main(table: str, picture: str = str(DEFAULT)) -> None:
    with open(table, encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["what"] == "pisa"]
    sizes = sorted({int(row["d"]) for row in rows})
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    draw = ImageDraw.Draw(image)
    width = (WIDTH - LEFT) // len(sizes)
    for i, size in enumerate(sizes):
        mine = [row for row in rows if int(row["d"]) == size]
        panel = Panel(
            draw,
            LEFT + i * width,
            LEFT + (i + 1) * width - GAP // 2,
            sorted({int(r["tokens"]) for r in mine}),
        )
        panel.axes(f"head size {size}: speed of PISA over dense attention, by density")
        for density in COLOURS:
            panel.line([row for row in mine if float(row["density"]) == density], density)
    image.save(picture, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
