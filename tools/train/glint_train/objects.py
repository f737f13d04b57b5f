"""The named objects: CLDR names and keywords, a selection rule and an explicit exclusion list."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from pathlib import Path

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
RESERVED = COLOUR_WORDS | {"small", "big", "large", "left", "right", "above", "below", "on", "of", "background", "face"}

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
    """lotus|coral|empty nest|nest with eggs|beans|jar|bubbles|wheel|ring buoy|mirror ball|playground slide
    |grinning face|smiling face with sunglasses|smiling face with heart-eyes|face with tears of joy|winking face
    |thinking face|sleeping face|crying face|angry face|enraged face|smiling face with halo|nerd face|cold face
    |cowboy hat face|neutral face|face with tongue|skull|pile of poo|clown face|ogre|goblin|ghost|alien
    |alien monster|robot|broken heart|heart with arrow|heart with ribbon|two hearts|collision|dizzy
    |bomb|thought balloon|eye|eyes|brain|tooth|bone|ear|anatomical heart|lungs|tongue
    |compass|snow-capped mountain|mountain|volcano|desert island|brick|rock|wood|hut|house|castle|church|fountain
    |tent|office building|factory|Tokyo tower|Statue of Liberty|circus tent|ferris wheel|barber pole
    |carousel horse|hourglass done|watch|alarm clock|stopwatch|mantelpiece clock|full moon|crescent moon|thermometer
    |sun|sun with face|ringed planet|star|glowing star|cloud|sun behind cloud|cloud with rain|cloud with snow
    |cloud with lightning|tornado|cyclone|rainbow|umbrella|high voltage|snowflake|snowman|comet|fire|droplet
    |water wave|globe showing Europe-Africa|warning|stop sign|recycling symbol|trident emblem|fleur-de-lis
    |hollow red circle|cross mark|check mark|red question mark|red exclamation mark|yin yang|radioactive
    |red heart|orange heart|yellow heart|green heart|blue heart|purple heart|brown heart|black heart
    |red circle|orange circle|yellow circle|green circle|blue circle|purple circle|brown circle|black circle
    |red square|orange square|yellow square|green square|blue square|purple square|brown square
    |red triangle pointed up|large orange diamond|large blue diamond|right arrow|up arrow"""
)

EXCLUDED_WORDS = re.compile(
    r"\b(face|oncoming|japanese|man|woman|woman.s|man.s|person|mailbox|envelope|tray|banknote|playing|suit|symbol"
    r"|arrow|cableway|tramway|chart|medal|departure|arrival|suspension|mountain|speaker|control|muted|football)\b"
)
EXCLUDED = name_set(
    """service dog|guide dog|ewe|ox|water buffalo|rat|two-hump camel|hatching chick|spider web|feather|paw prints|wilted flower
    |spouting whale|tropical fish|microbe|sheaf of rice|herb|leaf fluttering in wind|fallen leaf|white flower|rosette|blossom
    |melon|leafy green|flatbread|stuffed flatbread|falafel|meat on bone|cooking|shallow pan of food|pot of food|oden|mate
    |bowl with spoon|tamale|bento box|rice cracker|cooked rice|curry rice|fish cake with swirl|moon cake|dango|canned food
    |fortune cookie|shaved ice|soft ice cream|shortcake|pie|sake|clinking beer mugs|clinking glasses|beverage box|tumbler glass
    |teacup without handle|fork and knife with plate|fork and knife|hot beverage|bottle with popping cork|chopsticks|amphora
    |high-speed train|bullet train|metro|light rail|station|railway car|tram car|monorail|trolleybus|minibus|tram|bus stop|motorway
    |railway track|passenger ship|ferry|motor boat|small airplane|satellite|seat|articulated lorry|sport utility vehicle
    |horizontal traffic light|construction|manual wheelchair|motorized wheelchair|auto rickshaw|police car light|oil drum|roller skate
    |fireworks|sparkler|confetti ball|tanabata tree|pine decoration|carp streamer|wind chime|moon viewing ceremony
    |reminder ribbon|admission tickets|softball|field hockey|lacrosse|cricket game|badminton|martial arts uniform|running shirt
    |flower playing cards|performing arts|nesting dolls|knot|goal net|flag in hole|ice hockey|fishing pole|curling stone|bowling
    |mahjong red dragon|safety vest|kimono|sari|one-piece swimsuit|briefs|shorts|clutch bag|purse|shopping bags|flat shoe
    |thong sandal|rescue worker’s helmet|prayer beads|bell with slash|musical score|musical notes|level slider|long drum|pager
    |fax machine|trackball|computer disk|dvd|film projector|film frames|camera with flash|videocassette|diya lamp
    |notebook with decorative cover|ledger|page with curl|page facing up|rolled-up newspaper|bookmark tabs|receipt|e-mail
    |ballot box with ballot|black nib|pen|memo|open file folder|card index dividers|tear-off calendar|spiral notepad
    |spiral calendar|card index|round pushpin|linked paperclips|card file box|file cabinet|locked with pen|locked with key
    |hammer and pick|hammer and wrench|bow and arrow|clamp|white cane|link|hook|petri dish|satellite antenna|adhesive bandage
    |elevator|plunger|mouse trap|lotion bottle|toilet|shower|cigarette|coffin|funeral urn|placard|headstone|razor|mobile phone with arrow
    |money with wings|postal horn|telephone receiver|optical disk|unlocked|triangular ruler|magnifying glass tilted right|worm
    |military helmet|long drum|studio microphone|video camera|desktop computer|mouse trap|speedboat|pick|label|old key|couch and lamp
    |crossed swords|postbox|joker|red envelope|playground slide|ice skate|diving mask|boar|badger|bison|skunk|open book|bookmark
    |lungs|anatomical heart|ear|mirror ball|empty nest|ring buoy|wheel|collision|orangutan|poodle|mammoth|beaver
    |front-facing baby chick|deciduous tree|seedling|chestnut|olive|beans|jar|bubbles
    |cut of meat|poultry leg|roasted sweet potato|fried shrimp|takeout box|squid|oyster|custard|cocktail glass|bubble tea|tropical drink
    |rice ball|steaming bowl|fondue|green salad|burrito|butter|salt|bagel|baguette bread|hut|brick|wood|office building
    |carousel horse|kick scooter|motor scooter|fuel pump|mantelpiece clock|stopwatch|hourglass not done
    |cloud with snow|cyclone|party popper|flying disc|ping pong|skis|nazar amulet|slot machine|piñata|thread
    |sewing needle|framed picture|bikini|scarf|billed cap|loudspeaker|clapper board|movie camera|electric plug
    |red paper lantern|newspaper|crayon|paintbrush|fountain pen|file folder|clipboard|straight ruler|wastebasket|boomerang
    |carpentry saw|screwdriver|chains|alembic|stethoscope|bathtub|safety pin|roll of paper|soap|sponge|moai|trident emblem|tent
    |fleur-de-lis|desert island|full moon|moon viewing ceremony|hollow red circle|heart with ribbon|nerd face|cold face|ogre|goblin
    |mirror|abacus|accordion|banjo|sled|otter|ram|mosquito|fly|cockroach|cricket|lizard|roller skate|dizzy|clown face
    |gloves|socks|coat|lab coat|goggles|hiking boot|ballet shoes|chipmunk|hamster|leopard|black cat|sauropod|dodo|nest with eggs"""
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
    for entry in ElementTree.parse(path).getroot().iter("annotation"):
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
        return name not in EXCLUDED
    return inside and name not in EXCLUDED and not EXCLUDED_WORDS.search(name.lower()) and len(name.split()) <= 4


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
