"""Little texts for the tests: prose of common words, and code."""

from __future__ import annotations

import numpy as np

WORDS = [
    "the", "old", "ship", "sailed", "over", "a", "calm", "sea", "while", "children", "sang", "songs", "about", "winter",
    "and", "their", "mother", "baked", "bread", "in", "a", "small", "house", "near", "the", "river", "where", "fish",
    "swim", "under", "wooden", "bridges", "every", "morning", "until", "autumn", "comes", "with", "cold", "rain",
]  # fmt: skip
CODE = "def {a}({b}):\n    return {b} + {c}\n\nfor {a} in range({n}):\n    print({a}, {b})\n"


def prose(rng: np.random.Generator, words: int = 90) -> str:
    chosen = rng.choice(WORDS, words)
    return ". ".join(" ".join(part).capitalize() for part in np.array_split(chosen, 8)) + "."


def code(rng: np.random.Generator) -> str:
    return "".join(CODE.format(a=a, b=b, c=c, n=rng.integers(100)) for a, b, c in rng.choice(WORDS, (6, 3)))
