"""The page about caches over steps, docs/caches.md, and its plot, from what caches.py measured."""

from __future__ import annotations

import math
import textwrap
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

DOCS = Path(__file__).resolve().parents[2] / "docs"
COLOURS = {
    "easy-cache": "#0072b2", "mag-cache": "#56b4e9", "taylor-seer": "#d55e00", "spectrum": "#cc79a7",
    "cfg-cache": "#009e73", "adaptive-guidance": "#b8860b",
}  # fmt: skip
SHAPES = {
    "easy-cache": "circle", "mag-cache": "square", "taylor-seer": "triangle", "spectrum": "diamond",
    "cfg-cache": "cross", "adaptive-guidance": "plus",
}  # fmt: skip
HEAD = """# Caches over steps, measured

Fewer steps spare evaluations too, so a cache has to beat plain sampling with as many of them. Written by
`tools/results/caches.py DIR`, which runs every setting, and plain sampling with fewer steps, on {prompts}
prompts with one noise each. Distance is that of the latents to those of the full run, root mean square,
relative to the full run's. "Fewer steps" is the distance of plain sampling at as many evaluations; the next
column is the difference with its 95 % interval over prompts, and says whether the cache **beats** fewer
steps, is worse, or differs too little to tell. Similarity and strict score are the judge's of tools/train,
less the full run's. CPU seconds are of one thread without loading ({processor}), with other work beside it.
On networks of FLUX.1's and Wan 2.1 1.3B's width, two blocks of each with random weights, caches are only
[timed](#time-at-real-width).

![distance over evaluations](images/caches.png)

"""
RANDOM = """The weights of this network are random ({place}): distances show how a cache follows the
architecture and the schedule, and say nothing about pictures.

"""


def verdict(row: dict[str, Any]) -> str:
    if row["difference"] is None:
        return ""
    _, low, high = row["difference"]
    return "beats" if high < 0 else "worse" if low > 0 else "no difference"


def signed(values: list[float] | None, digits: int) -> str:
    if values is None:
        return ""
    mean, low, high = (f"{value:+.{digits}f}" for value in values)
    return f"{mean} [{low}, {high}]"


def summary(rows: list[dict[str, Any]]) -> str:
    """Which caches beat fewer steps, at which of their settings."""
    names = dict.fromkeys(row["name"].split(":")[0] for row in rows if row["difference"] is not None)
    said = []
    for name in names:
        own = [row for row in rows if row["name"].split(":")[0] == name and row["difference"] is not None]
        good = [row for row in own if verdict(row) == "beats"]
        if good:
            settings = ", ".join(f"`{row['name'].partition(':')[2]}`" for row in good)
            said.append(f"- `{name}` beats fewer steps at {settings}.")
        else:
            said.append(f"- `{name}` beats fewer steps at none of its {len(own)} settings.")
    lines = (textwrap.fill(one, 110, subsequent_indent="  ", break_on_hyphens=False) for one in said)
    return "\n".join(lines) + "\n\n"


def table(rows: list[dict[str, Any]], judged: bool) -> str:
    head = ["run", "evaluations", "distance", "fewer steps", "difference"]
    head += ["similarity", "strict, %", "CPU s"] if judged else []
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for row in rows:
        cells = [row["name"] if row["plain"] is None else f"`{row['name']}`"]
        cells += [f"{row['evaluations']:.1f}", f"{row['distance']:.4f}"]
        cells.append("" if row["plain"] is None else f"{row['plain']:.4f}")
        word = verdict(row)
        cells.append(f"{signed(row['difference'], 4)} {f'**{word}**' if word == 'beats' else word}".strip())
        if judged:
            percent = row["strict"] and [100 * value for value in row["strict"]]
            cells += [signed(row["similarity"], 3), signed(percent, 0), f"{row['seconds']:.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


WIDE = """## Time at real width

CPU seconds of one picture of FLUX.1's width (3072, 128 tokens) and one video of Wan 2.1 1.3B's (1536, 108
tokens, guidance), {steps} steps. A cache's own cost is what its share of the time is above its share of the
evaluations.

"""
TITLES = {"flux-wide": "FLUX.1's width", "wan-wide": "Wan 2.1 1.3B's width"}


def times(models: list[dict[str, Any]]) -> str:
    lines = ["| network | run | evaluations | of all | CPU s | of all |", "|" + "---|" * 6]
    for model in models:
        full = model["rows"][0]
        for row in model["rows"]:
            name = f"`{row['name']}`" if ":" in row["name"] else row["name"]
            lines.append(
                f"| {TITLES[model['model']]} | {name} | {row['evaluations']:.1f} | "
                f"{100 * row['evaluations'] / full['evaluations']:.0f} % | {row['seconds']:.1f} | "
                f"{100 * row['seconds'] / full['seconds']:.0f} % |"
            )
    return "\n".join(lines) + "\n"


def page(models: list[dict[str, Any]]) -> str:
    first = models[0]
    text = HEAD.format(prompts=first["prompts"], processor=first["processor"])
    wide = [model for model in models if model.get("wide")]
    for model in models:
        if model in wide:
            continue
        text += f"## {model['model']}, {model['steps']} steps\n\n"
        if not model["judged"]:
            text += RANDOM.format(place=f"`tests/data/families/{model['model']}`")
        text += summary(model["rows"]) + table(model["rows"], model["judged"]) + "\n"
    if wide:
        text += WIDE.format(steps=wide[0]["steps"]) + times(wide)
    return text.rstrip("\n") + "\n"


class Panel:
    """Distance, logarithmic, over evaluations, for one model."""

    def __init__(self, draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], model: dict) -> None:
        self.draw, (self.left, self.top, self.right, self.bottom) = draw, box
        self.font, self.small = ImageFont.load_default(19), ImageFont.load_default(14)
        self.rows = [row for row in model["rows"] if row["distance"] > 0]
        values = [row["distance"] for row in self.rows]
        self.low = 10 ** math.floor(math.log10(min(values)))
        self.high = 10 ** math.ceil(math.log10(max(values)))
        self.most = max(row["evaluations"] for row in model["rows"])
        self.title = f"{model['model']}, {model['steps']} steps"

    def x(self, evaluations: float) -> float:
        return self.left + (self.right - self.left) * evaluations / self.most

    def y(self, distance: float) -> float:
        share = math.log(distance / self.low) / math.log(self.high / self.low)
        return self.bottom - (self.bottom - self.top) * share

    def axes(self) -> None:
        distance = self.low
        while distance <= self.high * 1.01:
            y = self.y(distance)
            self.draw.line([(self.left, y), (self.right, y)], "#dddddd", 1)
            self.draw.text((self.left - 8, y), f"{distance:g}", "black", self.small, anchor="rm")
            distance *= 10
        for share in (0.25, 0.5, 0.75, 1):
            x = self.x(share * self.most)
            self.draw.text((x, self.bottom + 8), f"{share * self.most:g}", "black", self.small, anchor="mt")
        middle = (self.left + self.right) / 2
        self.draw.text((middle, self.top - 26), self.title, "black", self.font, anchor="mm")
        self.draw.text((middle, self.bottom + 34), "evaluations", "black", self.small, anchor="mm")

    def points(self) -> None:
        plain = [(self.x(r["evaluations"]), self.y(r["distance"])) for r in self.rows if ":" not in r["name"]]
        self.draw.line(plain, "black", 2)
        for row in self.rows:
            name = row["name"].split(":")[0]
            if name in COLOURS:
                mark(self.draw, (self.x(row["evaluations"]), self.y(row["distance"])), name)


def mark(draw: ImageDraw.ImageDraw, at: tuple[float, float], name: str) -> None:
    """One point: colour and shape say which cache."""
    (x, y), size, colour = at, 6, COLOURS[name]
    match SHAPES[name]:
        case "circle":
            draw.ellipse([x - size, y - size, x + size, y + size], fill=colour)
        case "square":
            draw.rectangle([x - size, y - size, x + size, y + size], fill=colour)
        case "triangle":
            draw.polygon([(x - size - 1, y + size), (x + size + 1, y + size), (x, y - size - 1)], fill=colour)
        case "diamond":
            size += 2
            draw.polygon([(x - size, y), (x, y - size), (x + size, y), (x, y + size)], fill=colour)
        case "cross":
            draw.line([(x - size, y - size), (x + size, y + size)], colour, 3)
            draw.line([(x - size, y + size), (x + size, y - size)], colour, 3)
        case _:
            draw.line([(x - size - 1, y), (x + size + 1, y)], colour, 3)
            draw.line([(x, y - size - 1), (x, y + size + 1)], colour, 3)


def plot(models: list[dict[str, Any]]) -> Image.Image:
    columns, width, height = 2, 620, 420
    lines = -(-len(models) // columns)
    image = Image.new("RGB", (columns * width, lines * height + 60), "white")
    draw = ImageDraw.Draw(image)
    for i, model in enumerate(models):
        left, top = (i % columns) * width, (i // columns) * height
        panel = Panel(draw, (left + 80, top + 50, left + width - 30, top + height - 60), model)
        panel.axes()
        panel.points()
    x, y, font = 60, lines * height + 28, ImageFont.load_default(16)
    draw.line([(x, y), (x + 30, y)], "black", 2)
    draw.text((x + 38, y), "fewer steps", "black", font, anchor="lm")
    x += 170
    for name in COLOURS:
        mark(draw, (x, y), name)
        draw.text((x + 14, y), name, "black", font, anchor="lm")
        x += 60 + int(font.getlength(name))
    return image


def write(models: list[dict[str, Any]]) -> None:
    (DOCS / "caches.md").write_text(page(models))
    plotted = [model for model in models if not model.get("wide")]
    plot(plotted).save(DOCS / "images" / "caches.png", optimize=True)
