"""What a scene shows, in the order in which it is seen: the labels of the verifier."""

from __future__ import annotations

from dataclasses import dataclass

from .grammar import Grammar, Part, Scene
from .objects import COLOURS

LAYOUTS = ("single", "beside", "stacked")
SIZES = (None, "small", "big")
BACKGROUNDS = (None, *COLOURS)


@dataclass(frozen=True)
class Labels:
    """Class numbers of a scene. Slot 0 is the only, the left or the upper object; an empty slot holds -1.

    `asked_colours` and `asked_sizes` say which of them the prompt names; the others are what the font draws.
    """

    layout: int
    background: int
    objects: tuple[int, int]
    colours: tuple[int, int]
    sizes: tuple[int, int]
    asked_colours: tuple[bool, bool]
    asked_sizes: tuple[bool, bool]


class Labeller:
    """Class numbers of a grammar's entries and colours."""

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        self.names = grammar.names
        self.colours: tuple[str | None, ...] = (None, "white", *COLOURS)
        self._number = {name: i for i, name in enumerate(self.names)}

    def colour(self, part: Part) -> int:
        """The colour word, or that of the glyph's own name, since "apple" and "red apple" look the same."""
        return self.colours.index(part.colour or self.grammar.entries[part.entry].natural[0][0])

    def __call__(self, scene: Scene) -> Labels:
        parts = scene.parts
        if scene.relation in ("right of", "below"):
            parts = parts[::-1]
        layout = 0 if scene.relation is None else 1 if scene.relation in ("left of", "right of") else 2

        def slots(values: list, empty: object) -> tuple:
            return tuple((values + [empty])[:2])

        return Labels(
            layout=layout,
            background=BACKGROUNDS.index(scene.background),
            objects=slots([self._number[part.entry] for part in parts], -1),
            colours=slots([self.colour(part) for part in parts], -1),
            sizes=slots([SIZES.index(part.size) for part in parts], -1),
            asked_colours=slots([part.colour is not None for part in parts], False),
            asked_sizes=slots([part.size is not None for part in parts], False),
        )
