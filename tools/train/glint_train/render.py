"""Rendering of scenes: font glyphs, tints, sizes and placement, 64 x 64 pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .grammar import Grammar, Part, Scene
from .objects import COLOURS
from .run import require

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
FONT_SIZE = 109  # the only size the bitmap font has
SIDE = 64

# Longest sides of an object in pixels and shifts of its centre along each axis. A few discrete variants are
# learned much sooner than a continuum.
SINGLE_SIZES: dict[str | None, tuple[int, ...]] = {None: (56,), "small": (28,), "big": (64,)}
SINGLE_SHIFTS: dict[str | None, tuple[int, ...]] = {None: (-2, 2), "small": (-4, 0, 4), "big": (0,)}
# Half of the picture each: a denoiser's token of 8 x 8 pixels, or a verifier's window, then has one object.
PAIR_SIZES: dict[str | None, tuple[int, ...]] = {None: (32,), "small": (24,)}
PAIR_SHIFTS = (0,)
PAIR_CENTRES = {"left of": ((16, 32), (48, 32)), "above": ((32, 16), (32, 48))}


def glyph_image(text: str, font: ImageFont.FreeTypeFont) -> np.ndarray:
    """One glyph as straight RGBA floats [H, W, 4] in [0, 1], cropped to its ink."""
    canvas = Image.new("RGBA", (160, 160))
    ImageDraw.Draw(canvas).text((8, 8), text, font=font, embedded_color=True)
    box = canvas.getchannel("A").getbbox()
    if box is None:
        raise ValueError(f"the font has no glyph for {text!r}")
    return np.asarray(canvas.crop(box), dtype=np.float32) / 255.0


def tint(image: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """The glyph [H, W, 4] in shades of one colour: its median luminance becomes the colour itself."""
    target = np.asarray(colour, dtype=np.float32) / 255.0
    luminance = image[..., :3] @ np.asarray([0.299, 0.587, 0.114], dtype=np.float32)
    inked = luminance[image[..., 3] > 0.5]
    middle = float(np.clip(np.median(inked) if inked.size else 0.5, 0.2, 0.9))
    dark = np.clip(luminance / middle, 0, 1)[..., None]
    light = np.clip((luminance - middle) / (1 - middle), 0, 1)[..., None] * 0.75
    shaded = target * (0.25 + 0.75 * dark)
    return np.concatenate([shaded + (1 - shaded) * light, image[..., 3:]], axis=-1)


class Renderer:
    """Draws scenes; glyphs are rasterised once and tints are kept."""

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        file = require(FONT, "install the Debian package fonts-noto-color-emoji")
        font = ImageFont.truetype(str(file), FONT_SIZE)
        self.glyphs = {item.name: glyph_image(item.glyph, font) for item in grammar.objects}
        self._layers: dict[tuple[str, str | None, int], np.ndarray] = {}

    def layer(self, part: Part, side: int) -> np.ndarray:
        """Premultiplied RGBA [h, w, 4] of a part with the longest side `side`."""
        key = (part.entry, part.colour, side)
        if key not in self._layers:
            item, tinted = self.grammar.entries[part.entry].glyph(part.colour)
            image = self.glyphs[item.name]
            if tinted and part.colour:
                image = tint(image, COLOURS[part.colour])
            self._layers[key] = self._resize(image, side)
        return self._layers[key]

    @staticmethod
    def _resize(image: np.ndarray, side: int) -> np.ndarray:
        height, width = image.shape[:2]
        scale = side / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        premultiplied = image * np.concatenate(
            [np.repeat(image[..., 3:], 3, -1), np.ones_like(image[..., 3:])], -1
        )
        channels = [
            Image.fromarray(premultiplied[..., c]).resize(
                size, Image.Resampling.BOX if scale < 0.3 else Image.Resampling.HAMMING
            )
            for c in range(4)
        ]
        return np.stack([np.asarray(channel) for channel in channels], axis=-1)

    def render(self, scene: Scene, rng: np.random.Generator | None = None) -> np.ndarray:
        """A scene as uint8 [64, 64, 3]; without `rng` at its nominal sizes and places."""
        fill = COLOURS[scene.background] if scene.background else (255, 255, 255)
        canvas = np.empty((SIDE, SIDE, 3), dtype=np.float32)
        canvas[:] = np.asarray(fill, dtype=np.float32) / 255.0
        for part, (x, y), sizes, shifts in self._places(scene):
            side = int(np.mean(sizes)) if rng is None else int(rng.choice(sizes))
            dx = 0 if rng is None else int(rng.choice(shifts))
            self._paste(canvas, self.layer(part, side), x + dx, y)
        return (canvas * 255.0 + 0.5).clip(0, 255).astype(np.uint8)

    @staticmethod
    def _places(scene: Scene) -> list[tuple[Part, tuple[int, int], tuple[int, ...], tuple[int, ...]]]:
        if scene.relation is None:
            part = scene.parts[0]
            return [(part, (SIDE // 2, SIDE // 2), SINGLE_SIZES[part.size], SINGLE_SHIFTS[part.size])]
        swapped = scene.relation in ("right of", "below")
        first, second = PAIR_CENTRES["left of" if scene.relation in ("left of", "right of") else "above"]
        centres = (second, first) if swapped else (first, second)
        return [
            (part, centre, PAIR_SIZES[part.size], PAIR_SHIFTS) for part, centre in zip(scene.parts, centres)
        ]

    @staticmethod
    def _paste(canvas: np.ndarray, layer: np.ndarray, x: int, y: int) -> None:
        height, width = layer.shape[:2]
        left, top = x - width // 2, y - height // 2
        x0, y0, x1, y1 = max(left, 0), max(top, 0), min(left + width, SIDE), min(top + height, SIDE)
        part = layer[y0 - top : y1 - top, x0 - left : x1 - left]
        canvas[y0:y1, x0:x1] = canvas[y0:y1, x0:x1] * (1 - part[..., 3:]) + part[..., :3]
