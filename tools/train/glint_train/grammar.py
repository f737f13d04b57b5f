"""Scenes and their prompts: single objects and compositions with exact ground truth."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from .objects import COLOURS, NamedObject, load_objects, name_set

RELATIONS = ("left of", "right of", "above", "below")
HELD_OUT_PERCENT = 15
HELD_OUT_SALT = "glint-99"
PAIR_SHARE, TRAINED_PAIR_SHARE = 0.36, 0.62  # of compositions; pairs are learned last
NULL_SHARE = 0.10
EVERYDAY, EVERYDAY_IN_PAIRS = 0.75, 1.0  # shares of objects of compositions that come from `COMMON`
SINGLE_KINDS = ("tint", "background", "size", "mixed")
SINGLE_KIND_SHARES = (0.41, 0.19, 0.12, 0.28)  # of compositions of one object

# Pairs, and most other compositions, use these: each object is learned again at the size it has in a pair.
COMMON = name_set(
    """star|heart|circle|square|apple|book|cat|dog|key|fish|bird|butterfly|rose|sunflower|christmas tree
    |cactus|mushroom|banana|lemon|strawberry|carrot|pizza|hamburger|doughnut|egg|house|automobile|bus|rocket
    |airplane|sailboat|bicycle|balloon|umbrella|crown|bell|guitar|light bulb|pencil|hammer|trophy
    |soccer ball|cloud|sun|snowman|fire|teapot|watch|camera|rabbit|pig|frog|turtle|penguin|owl|robot|ghost
    |skull"""
)


def with_article(phrase: str) -> str:
    return f"{'an' if phrase[0] in 'aeio' else 'a'} {phrase}"


@dataclass(frozen=True)
class Entry:
    """An object of the grammar: `natural` maps colour words to glyphs drawn in that colour (None: as is)."""

    name: str
    natural: tuple[tuple[str | None, NamedObject], ...]

    def glyph(self, colour: str | None) -> tuple[NamedObject, bool]:
        """The glyph to draw and whether it has to be tinted."""
        for own, item in self.natural:
            if own == colour:
                return item, False
        return self.natural[0][1], colour is not None


@dataclass(frozen=True)
class Part:
    """One object of a scene."""

    entry: str
    colour: str | None = None
    size: str | None = None

    def phrase(self) -> str:
        return " ".join(word for word in (self.size, self.colour, self.entry) if word)


@dataclass(frozen=True)
class Scene:
    """One or two parts, their relation and the background colour (None: white)."""

    parts: tuple[Part, ...]
    relation: str | None = None
    background: str | None = None


def combination_held_out(*combination: str) -> bool:
    """The fixed rule: a combination is never trained when its hash falls into the held-out percents.

    It takes relations as written, though "B right of A" is the same picture as "A left of B": with one of
    them held out, the other is usually trained.
    """
    digest = hashlib.sha256("|".join((HELD_OUT_SALT, *combination)).encode()).digest()
    return int.from_bytes(digest[:4], "big") % 100 < HELD_OUT_PERCENT


class Grammar:
    """Draws scenes and prompts. Everything is a pure function of (seed, index)."""

    def __init__(self) -> None:
        self.objects = load_objects()
        groups: dict[str, list[NamedObject]] = {}
        for item in self.objects:
            groups.setdefault(item.base if item.colour else item.name, []).append(item)
        self.entries = {
            name: Entry(name, tuple((i.colour, i) for i in items)) for name, items in groups.items()
        }
        self.names = list(self.entries)
        self.common = [name for name in self.names if name in COMMON]
        # A base with many natural colours ("heart") is a grid of its own, held out like the tints.
        self.grids = {name for name, entry in self.entries.items() if len(entry.natural) >= 5}
        self.singles = [
            i for i in self.objects if not (i.base in self.grids and self.tint_held_out(i.colour, i.base))
        ]
        self.unique_synonyms = self._unique_synonyms()

    def _unique_synonyms(self) -> dict[str, list[str]]:
        owners: dict[str, set[str]] = {}
        for item in self.objects:
            for word in item.keywords:
                owners.setdefault(word, set()).add(item.name)
        names = {item.name for item in self.objects} | set(self.names)
        return {
            item.name: [w for w in item.keywords if len(owners[w]) == 1 and w not in names]
            for item in self.objects
        }

    def tint_held_out(self, colour: str | None, name: str) -> bool:
        """Whether "colour name" is held out; a natural colour ("red apple") only is as part of a grid."""
        if colour is None:
            return False
        natural = any(own == colour for own, _ in self.entries[name].natural)
        return (not natural or name in self.grids) and combination_held_out(colour, name)

    def scene_held_out(self, scene: Scene) -> bool:
        """Whether any combination of a scene is held out."""
        if any(self.tint_held_out(part.colour, part.entry) for part in scene.parts):
            return True
        names = [part.entry for part in scene.parts]
        return scene.relation is not None and combination_held_out(*names, scene.relation)

    def _pick(self, rng: np.random.Generator, everyday: float) -> str:
        pool = self.common if rng.random() < everyday else self.names
        return pool[int(rng.integers(len(pool)))]

    def _part(
        self, rng: np.random.Generator, everyday: float, tint: float, sizes: tuple[str, ...], sized: float
    ) -> Part:
        name = self._pick(rng, everyday)
        colour = str(rng.choice(list(COLOURS))) if rng.random() < tint else None
        size = str(rng.choice(sizes)) if rng.random() < sized else None
        return Part(name, colour, size)

    def composition(
        self, rng: np.random.Generator, pairs: float = PAIR_SHARE, everyday: float | None = None
    ) -> Scene:
        """One compositional scene, held out or not; a share `pairs` of them has two objects.

        `everyday` is the share of objects from `COMMON`; None: what the kind of the scene is trained with.
        """
        kind = "pair" if rng.random() < pairs else rng.choice(SINGLE_KINDS, p=SINGLE_KIND_SHARES)
        background = str(rng.choice(list(COLOURS))) if rng.random() < 0.5 else None
        if kind == "pair":
            share = EVERYDAY_IN_PAIRS if everyday is None else everyday
            parts = (
                self._part(rng, share, 0.5, ("small",), 0.25),
                self._part(rng, share, 0.5, ("small",), 0.25),
            )
            return Scene(parts, str(rng.choice(RELATIONS)), background if rng.random() < 0.6 else None)
        share = EVERYDAY if everyday is None else everyday
        if kind == "tint":
            return Scene((self._part(rng, share, 1.0, ("small",), 0.0),))
        if kind == "background":
            return Scene((self._part(rng, share, 0.0, ("small",), 0.0),), background=background or "yellow")
        if kind == "size":
            return Scene((self._part(rng, share, 0.0, ("small", "big"), 1.0),))
        return Scene((self._part(rng, share, 0.6, ("small", "big"), 0.6),), background=background)

    def valid(self, scene: Scene) -> bool:
        """Whether objects differ and none is asked for in the colour of the background.

        An object whose own colour is the background's passes: "heart on a red background" is valid.
        """
        names = [part.entry for part in scene.parts]
        colours = [part.colour for part in scene.parts]
        return len(set(names)) == len(names) and scene.background not in [c for c in colours if c]

    def draw_composition(
        self, rng: np.random.Generator, want_held_out: bool = False, pairs: float = PAIR_SHARE
    ) -> Scene:
        """A valid compositional scene from the trained or from the held-out combinations."""
        while True:
            scene = self.composition(rng, pairs)
            if self.valid(scene) and self.scene_held_out(scene) == want_held_out:
                return scene

    def draw(self, rng: np.random.Generator, composed: bool) -> tuple[Scene, str]:
        """One training scene, a composition or a single object, and its prompt."""
        if composed:
            scene = self.draw_composition(rng, pairs=TRAINED_PAIR_SHARE)
            return scene, self.prompt(scene, rng)
        item = self.singles[int(rng.integers(len(self.singles)))]
        return self.single(item), self.single_prompt(item, rng)

    def single(self, item: NamedObject) -> Scene:
        """The scene of one object as the font draws it."""
        return Scene((Part(item.base, item.colour) if item.colour else Part(item.name),))

    def single_prompt(self, item: NamedObject, rng: np.random.Generator) -> str:
        """The name, sometimes with an article, a keyword, or as an unambiguous synonym."""
        synonyms, keywords, draw = self.unique_synonyms[item.name], item.keywords, rng.random()
        if draw < 0.08 and synonyms:
            return str(rng.choice(synonyms))
        if draw < 0.20 and keywords:
            return f"{item.name} {rng.choice(keywords)}"
        return with_article(item.name) if draw > 0.80 else item.name

    def prompt(self, scene: Scene, rng: np.random.Generator | None = None) -> str:
        """A compositional prompt; articles are left out at random when `rng` is given."""
        articles = rng is None or rng.random() < 0.5
        phrases = [with_article(part.phrase()) if articles else part.phrase() for part in scene.parts]
        words = f" {scene.relation} ".join(phrases) if scene.relation else phrases[0]
        if scene.background:
            words += f" on {with_article(scene.background)} background"
        return words
