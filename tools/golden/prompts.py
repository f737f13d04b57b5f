"""Two hundred prompts that tokenizers disagree on, and the training text of the tiny SentencePiece model."""

from __future__ import annotations

import itertools

COLOURS = ("red", "blue", "small golden", "very old", "shiny green", "pale", "dark wooden", "tiny")
THINGS = ("apple", "fox", "lighthouse", "teapot", "astronaut", "bicycle", "castle", "owl", "violin", "robot")
PLACES = (
    "on a table", "in the snow", "by the sea at night", "under a bridge", "in an empty room, oil painting",
    "above the clouds", "in a forest", "next to a cat", "in front of a mountain", "photo, 35mm",
    "in the rain",
)  # fmt: skip

SENTENCES = [f"a {c} {t} {p}" for c, t, p in itertools.product(COLOURS, THINGS, PLACES)]

SPECIAL = (
    "", " ", "\t\n", "a", "A", "!", "!!!", "wow! so nice!", "...", "?!?", "'", "it's", "IT'S",
    "we'll they've I'd you're I'm", "  leading and trailing  ", "tabs\tand\nnew\r\nlines",
    "no\u00a0break\u2003em space", "zero\u200bwidth", "CamelCase words_and_underscores", "12345", "1 2 3",
    "3.14159", "10,000", "1st 2nd 3rd", "²³½¾", "ⅣⅫ", "١٢٣", "café", "cafe\u0301", "naïve coöperation",
    "Ångström", "ÅNGSTRÖM", "İstanbul", "STRASSE straße", "ﬁne ﬂow", "Ǆ ǅ ǆ", "ΑΣ σς",
    "“curly” ‘quotes’ – and — dashes…", "a/b\\c|d", "<b>bold</b>", "&amp; &lt;3 &eacute;", "&amp;amp;",
    "100% #1 @home $5 €7 £3", "(masterpiece:1.2), [best] {quality}", "a,b,c", "a , b , c", "semi;colon:colon",
    "e-mail@example.com", "https://example.com/a?b=c", "<|startoftext|>", "<|endoftext|>",
    "a <|endoftext|> b", "<|STARTOFTEXT|>x", "</s>", "a</s>b", "<pad>", "<unk>", "<extra_id_0>",
    "x <extra_id_12> y", "<extra_id_100>", "▁", "a▁b", "Ġ", "</w>", "a</w>", "😀", "😀😀", "a 😀 b", "👍🏽",
    "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇫🇷🇩🇪", "❤️", "☃", "🧑🏿‍🚀 riding 🐎", "1️⃣2️⃣", "©®™", "猫", "一只红色的狐狸", "赤い林檎がテーブルの上に",
    "빨간 사과", "カタカナ ひらがな", "ｶﾀｶﾅ", "ＦＵＬＬ　ＷＩＤＴＨ", "猫と犬, cat and dog", "漢字カナ交じり文。", "「引用」", "كلب أحمر",
    "שלום עולם", "собака в снегу", "Собака", "γάτα", "ไก่", "हिन्दी", "தமிழ்", "ភាសាខ្មែរ", "አማርኛ", "ქართული",
    "Հայերեն", "e\u0301\u0323", "\u1100\u1161\u11a8", "\ufeffbom", "soft\u00adhyphen", "\u202eright to left",
    "o\u0308 n\u0303 u\u0323", "\U0001f9ff\U0001fa90", "\U00020000\U0002f800",
    "supercalifragilisticexpialidocious", "a" * 100, "!" * 100, "ab " * 60, "x y " * 40, "1" * 90,
    "word " * 300, "a red fox in the snow, " * 60, "猫" * 300, "😀" * 300, "it's " * 300,
)  # fmt: skip

PROMPTS = [*SPECIAL, *SENTENCES[:: len(SENTENCES) // (200 - len(SPECIAL))]][:200]

if __name__ == "__main__":
    print(len(SPECIAL), len(PROMPTS), len(set(PROMPTS)))
