"""Numbers in sentences: rounding, signs, plurals, ranges, and the one sentence a page opens with."""

from __future__ import annotations

import math
import re
from typing import Any

from superscope import store

WORDS, NUMBERS = 30, 2
_NUMBER = re.compile(r"(?<![\w.])[−-]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[+−-]?\d+)?(?![\w])")


def number(value: Any, digits: int = 2) -> str:
    """A number for a sentence: whole ones as they are, others to `digits` significant digits, a true minus, never "-0".

    >>> number(0.04849), number(-0.0), number(1234.5), number(-3)
    ('0.048', '0', '1,200', '−3')
    """
    x = float(value)
    if math.isnan(x):
        return "not a number"
    if math.isinf(x):
        return "∞" if x > 0 else "−∞"
    if x != int(x) or (abs(x) >= 10**6 and not isinstance(value, int)):
        x = float(f"{x:.{digits}g}")
    text = f"{int(x):,}" if x == int(x) and abs(x) < 1e15 else f"{x:.{digits}g}"
    return "0" if text in ("-0", "0") else text.replace("-", "−")


def count(n: int, thing: str, things: str = "") -> str:
    """ "1 seed", "3 seeds", "2 vertices"."""
    return f"{number(n)} {thing if n == 1 else things or thing + 's'}"


def span(low: float, high: float, digits: int = 2) -> str:
    """ "2 to 5", or "2" when both ends read the same."""
    ends = number(low, digits), number(high, digits)
    return ends[0] if ends[0] == ends[1] else f"{ends[0]} to {ends[1]}"


def percent(share: float, digits: int = 2) -> str:
    """ "43 %"."""
    return f"{number(100 * share, digits)} %"


def joined(parts: list[str]) -> str:
    """ "a", "a and b", "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}" if parts else "none"


def said(verdict: str) -> str:
    """A verdict as one word of an answer: "yes", "no" or "undecided"."""
    return {"supported": "yes", "refuted": "no"}.get(verdict, "undecided")


def answer(template: str, **values: Any) -> str:
    """`template` with its {fields} filled in: floats rounded, text as it is. At most 30 words and two numbers, else ValueError.

    >>> answer("Dropout spreads features over {share} of neurons.", share=0.4321)
    'Dropout spreads features over 0.43 of neurons.'
    """
    shown = {name: value if isinstance(value, str) else number(value) for name, value in values.items()}
    return check_answer(template.format(**shown))


def check_answer(text: str) -> str:
    """`text`, if a page may open with it."""
    words, numbers = len(text.split()), len(_NUMBER.findall(text))
    if words > WORDS:
        raise ValueError(f"answer {text!r} has {words} words: at most {WORDS}")
    if numbers > NUMBERS:
        raise ValueError(f"answer {text!r} has {numbers} numbers: at most {NUMBERS}")
    return text


def show_value(value: Any) -> str:
    """A number to four significant digits; a stored null is NaN."""
    number = store.number(value)
    if math.isnan(number):
        return "NaN"
    return f"{number:.4g}".replace("-", "−")


def show_estimate(row: dict[str, Any]) -> str:
    """``value [low, high]`` of a claim or of one of its arms; only the value when there is no interval to speak of."""
    value = show_value(row["estimate"]["value"])
    low, high = (show_value(item) for item in row["interval"])
    return value if low == high == value else f"{value} [{low}, {high}]"


def show_seconds(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"
