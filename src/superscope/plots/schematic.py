"""Drawings of what a study looks at, as SVG: a toy's layers, or the place in a transformer.

`layers` draws columns of units and what maps one to the next; `transformer` draws the residual stream with the blocks that
read from and write to it. Colours are classes (see ``atlas.css``): "hot" is where the study looks. 420 units wide, so that
the text can still be read on a phone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from html import escape

from superscope.evidence.wording import count

WIDTH = 420
MOST = 9  # units drawn of a column; more are hinted at
_GAP = 13.0


@dataclass(frozen=True)
class Column:
    """One layer of a toy. size: units, None where it is not one number. hot: where the study looks."""

    label: str
    size: int | None = None
    hot: bool = False


def layers(columns: Sequence[Column], maps: Sequence[str] = (), label: str = "") -> str:
    """SVG of a toy: one column of dots a layer, as many as units (up to `MOST`), its size and name below.

    maps: what is written over the arrow from each column to the next.
    """
    largest = max((column.size or 1 for column in columns), default=1)
    drawn = [_drawn(column.size, largest) for column in columns]
    height = max(96.0, _GAP * max(drawn)) + 66
    middle = 26 + (height - 66) / 2
    step = WIDTH / len(columns)
    xs = [step * (place + 0.5) for place in range(len(columns))]
    body = []
    for place in range(len(columns) - 1):
        for y in _ys(drawn[place], middle):
            for other in _ys(drawn[place + 1], middle):
                body.append(_line("wire", xs[place] + 5, y, xs[place + 1] - 5, other))
        text = maps[place] if place < len(maps) else ""
        body.append(_text((xs[place] + xs[place + 1]) / 2, 16, text, "soft"))
    for x, column, dots in zip(xs, columns, drawn, strict=True):
        kind = "unit hot" if column.hot else "unit"
        body += [f'<circle class="{kind}" cx="{x:g}" cy="{y:g}" r="4.5"/>' for y in _ys(dots, middle)]
        if column.size is not None and column.size > dots:
            body.append(_text(x + 13, middle + 4, "⋮", "soft", "start"))
        if column.size is not None:
            body.append(_text(x, height - 24, f"{column.size:,}", "big"))
        body.append(_text(x, height - 8, column.label, "soft"))
    return _svg(height, body, label or ", then ".join(f"{c.size or ''} {c.label}".strip() for c in columns))


def transformer(n_layers: int, hot: Collection[str], *, mlp: bool = True, note: str = "", more: int = 0) -> str:
    """SVG of a transformer: embedding, one attention and one MLP block a layer on the residual stream, unembedding.

    hot: places the study looks at, of "embed", "position", "attention 0", "mlp 0", "stream 0" (after layer 0; "stream -1" is
    before the first), ..., "unembed". note: what it measures there. more: layers that are not drawn.
    """
    blocks = [(kind, layer) for layer in range(n_layers) for kind in (("attention", "mlp") if mlp else ("attention",))]
    height, stream = 150.0, 96.0
    box = 64.0  # width of those at both ends
    left, right = box + 2, WIDTH - box - 2
    width = (right - 20 - left) / max(len(blocks), 1)
    size = min(66.0, width - 12)
    places = [left + width * (k + 0.5) for k in range(len(blocks))]
    ends = [left, *(x + width / 2 for x in places)]
    body = []
    for k, (start, end) in enumerate(itertools.pairwise(ends)):
        layer = blocks[k][1]
        before = layer - 1 if blocks[k][0] == "attention" else layer
        name = f"stream {before}" if blocks[k][0] == "attention" else f"stream {layer}.mid"
        body.append(_line("stream hot" if name in hot else "stream", start, stream, end, stream))
    last = f"stream {n_layers - 1}" in hot
    body.append(_line("stream hot" if last else "stream", ends[-1], stream, right, stream))
    for (kind, layer), x in zip(blocks, places, strict=True):
        name = f"{kind} {layer}"
        body += [_line("arm", x - size / 3, stream, x - size / 3, 66), _line("arm", x + size / 3, 66, x + size / 3, stream)]
        body.append(_box(x, 46, size, 40, "hot" if name in hot else ""))
        body.append(_text(x, 44, "MLP" if kind == "mlp" else "heads", "big"))
        body.append(_text(x, 59, f"layer {layer + 1}", "soft"))
    for x, name, text in ((left - box / 2, "embed", "embed"), (right + box / 2, "unembed", "unembed")):
        body += [_box(x, stream, box, 30, "hot" if name in hot else ""), _text(x, stream + 4, text, "soft")]
    if "position" in hot:
        x = left - box / 2
        body += [_box(x, stream - 42, box, 26, "hot"), _text(x, stream - 38, "position", "soft")]
        body.append(_line("arm", x, stream - 29, x, stream - 15))
    body.append(_text(WIDTH / 2, height - 8, note + (f" ({more} more layers)" if more else ""), "soft"))
    return _svg(
        height, body, f"A transformer of {count(n_layers, 'layer')}; the study looks at {note or ', '.join(sorted(hot))}"
    )


def _drawn(size: int | None, largest: int) -> int:
    """How many dots stand for `size` units: as many where all fit, else fewer by the square root: narrow looks narrow."""
    if size is None:
        return min(5, MOST)
    return size if largest <= MOST else max(min(size, 2), round(MOST * math.sqrt(size / largest)))


def _ys(dots: int, middle: float) -> list[float]:
    return [middle + _GAP * (place - (dots - 1) / 2) for place in range(dots)]


def _line(kind: str, x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="{kind}" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}"/>'


def _box(x: float, y: float, width: float, height: float, kind: str) -> str:
    corner = f'x="{x - width / 2:g}" y="{y - height / 2:g}" width="{width:g}" height="{height:g}"'
    return f'<rect class="box {kind}" rx="5" {corner}/>'


def _text(x: float, y: float, text: str, kind: str, anchor: str = "middle") -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>' if text else ""


def _svg(height: float, body: Sequence[str], label: str) -> str:
    return (
        f'<svg class="schematic" role="img" aria-label="{escape(label)}" viewBox="0 0 {WIDTH} {math.ceil(height)}" '
        f'xmlns="http://www.w3.org/2000/svg">{"".join(body)}</svg>'
    )
