"""The strip of a claim: measured, null and plant on one axis, over the region the rule asks for, as SVG.

Made when the page is written, so it needs no script; horizontal places are percentages, so it fits any width with its text and
its marks at full size. Colours are classes (see ``atlas.css``), so that it follows light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from superscope import store
from superscope.evidence.wording import number, show_estimate

LANE = 25  # pixels from one arm to the next
TOP, FOOT = 6, 22
MARKS = {
    "measured": '<path class="mark" d="M0 -6L6 0L0 6L-6 0Z"/>',
    "null": '<rect class="mark open" x="-5" y="-5" width="10" height="10"/>',
    "plant": '<path class="mark open" d="M0 -6L6 5L-6 5Z"/>',
}
DOTS = 60  # replicates drawn; of more, those at evenly spaced ranks
_LOG_FROM = 1000.0  # the ratio of the largest to the smallest value from which a log axis is used


def claim_strip(row: Mapping[str, Any]) -> str:
    """SVG of one claim as ``findings.json`` has it: every replicate a dot, the estimate with its interval, the rule shaded.

    The axis is logarithmic when all values are positive and span three decades.
    """
    lanes = arms(row)
    axis = Axis(row)
    height = TOP + LANE * len(lanes)
    body = [_rule(axis, row["rule"], height), _ticks(axis, height)]
    body += [_lane(axis, name, part, TOP + LANE * place + LANE // 2) for place, (name, part) in enumerate(lanes)]
    said = "; ".join(f"{name} {show_estimate(dict(part))}" for name, part in lanes)
    label = escape(f"{row['column'] or 'value'}, rule {row['rule']['text']}: {said}")
    return (
        f'<svg class="strip" role="img" aria-label="{label}" width="100%" height="{height + FOOT}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(body)}</svg>'
    )


def arms(row: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The arms of a claim from the top down."""
    plant = [("plant", row["plant"])] if row["plant"] else []
    return [("measured", row), ("null", row["null"]), *plant]


class Axis:
    """The x axis that shows everything of one claim; `at` gives percentages of its width."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        rule = row["rule"]
        shown = [rule["lo"], rule["hi"], rule["excludes"]]
        for _, part in arms(row):
            shown += [part["estimate"]["value"], *part["interval"], *part["estimate"]["replicates"]]
        values = [value for value in map(store.number, shown) if math.isfinite(value)] or [0.0, 1.0]
        self.log = min(values) > 0 and max(values) / min(values) > _LOG_FROM
        low, high = (math.log10(end) if self.log else end for end in (min(values), max(values)))
        pad = 0.08 * (high - low) or 0.5 * abs(low) or 0.5
        self.low, self.high = low - pad, high + pad

    def at(self, value: float) -> float:
        """Percent of the width; infinite values lie at the ends, values that have no place at NaN."""
        if math.isnan(value):
            return math.nan
        if self.log:
            value = math.log10(value) if value > 0 else -math.inf
        return 100 * min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def ticks(self, most: int = 5) -> list[tuple[float, str]]:
        """(value, text) at round numbers, with as many digits as tell them apart."""
        if self.log:
            first, last = math.ceil(self.low), math.floor(self.high)
            every = max(1, math.ceil((last - first + 1) / most))
            return [(10.0**power, f"1e{power}") for power in range(first, last + 1, every)]
        rough = (self.high - self.low) / most
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
        places = range(math.ceil(self.low / step), math.floor(self.high / step) + 1)
        digits = max(4, 1 + math.ceil(math.log10(max(abs(self.low), abs(self.high)) / step)))
        return [(place * step, number(place * step, digits)) for place in places]


def _rule(axis: Axis, rule: Mapping[str, Any], height: int) -> str:
    excluded = store.number(rule["excludes"])
    if math.isfinite(excluded):
        x = f"{axis.at(excluded):.2f}%"
        return f'<line class="edge" x1="{x}" x2="{x}" y1="0" y2="{height}"/>'
    low, high = (store.number(rule[end]) for end in ("lo", "hi"))
    left, right = axis.at(low), axis.at(high)
    edges = "".join(
        f'<line class="edge" x1="{axis.at(end):.2f}%" x2="{axis.at(end):.2f}%" y1="0" y2="{height}"/>'
        for end in (low, high)
        if math.isfinite(end)
    )
    return f'<rect class="region" x="{left:.2f}%" width="{max(right - left, 0.4):.2f}%" y="0" height="{height}"/>{edges}'


def _ticks(axis: Axis, height: int) -> str:
    out = [f'<line class="axis" x1="0" x2="100%" y1="{height}" y2="{height}"/>']
    for value, text in axis.ticks():
        x = axis.at(value)
        anchor = "start" if x < 4 else "end" if x > 96 else "middle"
        out.append(f'<line class="axis" x1="{x:.2f}%" x2="{x:.2f}%" y1="{height}" y2="{height + 4}"/>')
        out.append(f'<text x="{x:.2f}%" y="{height + 17}" text-anchor="{anchor}">{escape(text)}</text>')
    return "".join(out)


def _lane(axis: Axis, name: str, part: Mapping[str, Any], y: int) -> str:
    dots = sorted(value for value in map(store.number, part["estimate"]["replicates"]) if not math.isnan(value))
    spread: list[float] = [y + 8 * (place % 5 - 2) / 2 for place in range(len(dots))]  # so that equal values show
    chosen = _even(len(dots), DOTS)
    out = [f'<circle class="dot" cx="{axis.at(dots[k]):.2f}%" cy="{spread[k]:g}" r="2.6"/>' for k in chosen]
    value = store.number(part["estimate"]["value"])
    low, high = map(store.number, part["interval"])
    if not math.isnan(low) and not math.isnan(high):
        ends = axis.at(low), axis.at(high)
        out.append(f'<line class="span" x1="{ends[0]:.2f}%" x2="{ends[1]:.2f}%" y1="{y}" y2="{y}"/>')
        out += [f'<line class="span" x1="{x:.2f}%" x2="{x:.2f}%" y1="{y - 4}" y2="{y + 4}"/>' for x in ends]
    if not math.isnan(value):
        out.append(f'<svg x="{axis.at(value):.2f}%" y="{y}" overflow="visible">{MARKS[name]}</svg>')
    return f'<g class="{name}"><title>{escape(f"{name}: {show_estimate(dict(part))}")}</title>{"".join(out)}</g>'


def _even(count: int, most: int) -> Sequence[int]:
    return range(count) if count <= most else [round(k * (count - 1) / (most - 1)) for k in range(most)]
