"""The named objects: CLDR names and keywords, a selection rule and an explicit exclusion list."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

from .run import require

ANNOTATIONS = Path("/usr/share/unicode/cldr/common/annotations/en.xml")

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (229, 45, 45),
    "orange": (248, 140, 20),
    "yellow": (252, 212, 40),
    "green": (60, 165, 70),
    "blue": (35, 125, 230),
    "purple": (140, 50, 180),
    "brown": (125, 80, 55),
    "pink": (242, 110, 165),
    "black": (40, 40, 40),
    "gray": (155, 155, 155),
}
COLOUR_WORDS = frozenset(COLOURS) | {"white"}

# Words the grammar gives a meaning of their own, so no synonym may use them.
RESERVED = COLOUR_WORDS | set("small big large left right above below on of background face".split())

# CLDR lists its annotations in emoji order, so a span of names is a category.
SPANS = (
    ("monkey", "microbe"),
    ("bouquet", "leaf fluttering in wind"),
    ("grapes", "amphora"),
    ("locomotive", "flying saucer"),
    ("jack-o-lantern", "knot"),
    ("glasses", "moai"),
)


def name_set(text: str) -> frozenset[str]:
    """The names of a text separated by bars."""
    return frozenset(" ".join(name.split()) for name in text.split("|"))


SINGLES = name_set(
    """lotus|coral|grinning face|smiling face with sunglasses|smiling face with heart-eyes
    |face with tears of joy|winking face|thinking face|sleeping face|crying face|angry face|enraged face
    |smiling face with halo|cowboy hat face|neutral face|face with tongue|skull|pile of poo|ghost|alien
    |alien monster|robot|broken heart|heart with arrow|two hearts|bomb|thought balloon|eye|eyes|brain
    |tooth|bone|tongue|compass|snow-capped mountain|mountain|volcano|rock|house|castle|church|fountain
    |factory|Tokyo tower|Statue of Liberty|circus tent|ferris wheel|barber pole|hourglass done|watch
    |alarm clock|crescent moon|thermometer|sun|sun with face|ringed planet|star|glowing star|cloud
    |sun behind cloud|cloud with rain|cloud with lightning|tornado|rainbow|umbrella|high voltage|snowflake
    |snowman|comet|fire|droplet|water wave|globe showing Europe-Africa|warning|stop sign|recycling symbol
    |cross mark|check mark|red question mark|red exclamation mark|yin yang|radioactive|red heart
    |orange heart|yellow heart|green heart|blue heart|purple heart|brown heart|black heart|red circle
    |orange circle|yellow circle|green circle|blue circle|purple circle|brown circle|black circle
    |red square|orange square|yellow square|green square|blue square|purple square|brown square
    |red triangle pointed up|large orange diamond|large blue diamond|right arrow|up arrow"""
)

EXCLUDED_WORDS = re.compile(
    r"\b(face|oncoming|japanese|man|woman|woman.s|man.s|person|mailbox|envelope|tray|banknote|playing|suit"
    r"|symbol|arrow|cableway|tramway|chart|medal|departure|arrival|suspension|mountain|speaker|control|muted"
    r"|football)\b"
)
EXCLUDED = name_set(
    """orangutan|guide dog|service dog|poodle|black cat|leopard|bison|ox|water buffalo|boar|ram|ewe
    |two-hump camel|mammoth|rat|hamster|chipmunk|beaver|otter|skunk|badger|paw prints|hatching chick
    |front-facing baby chick|dodo|feather|lizard|sauropod|spouting whale|tropical fish|cricket|cockroach
    |spider web|mosquito|fly|worm|microbe|white flower|rosette|wilted flower|blossom|seedling
    |deciduous tree|sheaf of rice|herb|fallen leaf|leaf fluttering in wind|melon|olive|leafy green|chestnut
    |baguette bread|flatbread|bagel|meat on bone|poultry leg|cut of meat|burrito|tamale|stuffed flatbread
    |falafel|cooking|shallow pan of food|pot of food|fondue|bowl with spoon|green salad|butter|salt
    |canned food|bento box|rice cracker|rice ball|cooked rice|curry rice|steaming bowl|roasted sweet potato
    |oden|fried shrimp|fish cake with swirl|moon cake|dango|fortune cookie|takeout box|squid|oyster
    |soft ice cream|shaved ice|shortcake|pie|custard|hot beverage|teacup without handle|sake
    |bottle with popping cork|cocktail glass|tropical drink|clinking beer mugs|clinking glasses|tumbler glass
    |bubble tea|beverage box|mate|chopsticks|fork and knife|amphora|railway car|high-speed train
    |bullet train|metro|light rail|station|tram|monorail|tram car|trolleybus|minibus|sport utility vehicle
    |articulated lorry|motor scooter|manual wheelchair|motorized wheelchair|auto rickshaw|kick scooter
    |roller skate|bus stop|motorway|railway track|oil drum|fuel pump|police car light
    |horizontal traffic light|construction|speedboat|passenger ship|ferry|motor boat|small airplane|seat
    |satellite|fireworks|sparkler|party popper|confetti ball|tanabata tree|pine decoration|carp streamer
    |wind chime|moon viewing ceremony|reminder ribbon|admission tickets|softball|flying disc|bowling
    |cricket game|field hockey|ice hockey|lacrosse|ping pong|badminton|martial arts uniform|goal net
    |flag in hole|ice skate|fishing pole|diving mask|running shirt|skis|sled|curling stone|nazar amulet
    |slot machine|piñata|nesting dolls|joker|mahjong red dragon|performing arts|framed picture|thread
    |sewing needle|knot|goggles|lab coat|safety vest|scarf|gloves|coat|socks|kimono|sari
    |one-piece swimsuit|briefs|shorts|bikini|purse|clutch bag|shopping bags|thong sandal|hiking boot
    |flat shoe|ballet shoes|billed cap|military helmet|rescue worker’s helmet|prayer beads|loudspeaker
    |postal horn|bell with slash|musical score|musical notes|studio microphone|level slider|accordion|banjo
    |long drum|telephone receiver|pager|fax machine|electric plug|desktop computer|trackball|computer disk
    |optical disk|dvd|abacus|movie camera|film frames|film projector|clapper board|camera with flash
    |video camera|videocassette|magnifying glass tilted right|red paper lantern|diya lamp
    |notebook with decorative cover|open book|ledger|page with curl|page facing up|newspaper
    |rolled-up newspaper|bookmark tabs|bookmark|label|money with wings|receipt|e-mail|postbox
    |ballot box with ballot|black nib|fountain pen|pen|paintbrush|crayon|memo|file folder|open file folder
    |card index dividers|tear-off calendar|spiral notepad|spiral calendar|card index|clipboard|round pushpin
    |linked paperclips|straight ruler|triangular ruler|card file box|file cabinet|wastebasket|unlocked
    |locked with pen|locked with key|old key|pick|hammer and pick|hammer and wrench|crossed swords|boomerang
    |carpentry saw|screwdriver|clamp|white cane|link|chains|hook|alembic|petri dish|satellite antenna
    |adhesive bandage|stethoscope|elevator|mirror|couch and lamp|toilet|plunger|shower|bathtub|mouse trap
    |razor|lotion bottle|safety pin|roll of paper|soap|sponge|cigarette|coffin|headstone|funeral urn|moai"""
)

_TIDY = ((r"’", ""), (r"[^a-z0-9]+", " "))
_DROPPED_PHRASES = ("large ", "tilted left", "pointed up", "showing europe africa")


def words_of(text: str) -> list[str]:
    """Lower-cased words of a text: what the tokenizer sees."""
    return [word for word in re.split(r"[^a-z0-9]+", text.lower()) if word]


@dataclass(frozen=True)
class NamedObject:
    """One glyph with its lower-cased name; `base` and `colour` split a name such as "red apple"."""

    glyph: str
    name: str
    keywords: tuple[str, ...] = field(default=())

    @property
    def colour(self) -> str | None:
        first = self.name.split(" ")[0]
        return first if first in COLOUR_WORDS else None

    @property
    def base(self) -> str:
        return self.name.split(" ", 1)[1] if self.colour else self.name


def read_annotations(path: Path = ANNOTATIONS) -> dict[str, tuple[str, list[str]]]:
    """CLDR: character sequence -> (name, keywords), in the file's order."""
    names: dict[str, str] = {}
    keywords: dict[str, list[str]] = {}
    file = require(path, "install the Debian package unicode-cldr-core")
    for entry in ElementTree.parse(file).getroot().iter("annotation"):
        glyph, text = entry.get("cp", ""), entry.text or ""
        if entry.get("type") == "tts":
            names[glyph] = text
        else:
            keywords[glyph] = [part.strip().lower() for part in text.split("|")]
    return {glyph: (name, keywords.get(glyph, [])) for glyph, name in names.items()}


def clean_name(name: str) -> str:
    """Lower-cased words of a CLDR name, without apostrophes and without the qualifiers nobody types."""
    text = name.lower()
    for pattern, replacement in _TIDY:
        text = re.sub(pattern, replacement, text)
    for phrase in _DROPPED_PHRASES:
        text = text.replace(phrase, "")
    return " ".join(text.split())


def _selected(name: str, inside: bool) -> bool:
    if name in SINGLES:
        return True
    return (
        inside and name not in EXCLUDED and not EXCLUDED_WORDS.search(name.lower()) and len(name.split()) <= 4
    )


def _synonyms(name: str, keywords: list[str]) -> tuple[str, ...]:
    own = set(words_of(name))
    usable = [k for k in keywords if re.fullmatch(r"[a-z]+", k) and k not in own | RESERVED]
    return tuple(dict.fromkeys(usable))[:3]


def load_objects() -> list[NamedObject]:
    """All selected objects in CLDR order; names are unique."""
    starts, ends = {a for a, _ in SPANS}, {b for _, b in SPANS}
    inside, seen, objects = False, set(), []
    for glyph, (name, keywords) in read_annotations().items():
        inside = inside or name in starts
        clean = clean_name(name)
        if _selected(name, inside) and clean not in seen:
            seen.add(clean)
            objects.append(NamedObject(glyph, clean, _synonyms(clean, keywords)))
        inside = inside and name not in ends
    return objects
