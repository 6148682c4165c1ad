"""4.15: can attention heads be in superposition, more things done than there are heads to do them?

Task. Skip trigrams A..B -> C with C = (A + B) mod q (`toys.latin_square`): a bag of fillers with a source A, a destination B
in the end. Query-key and value-output maps have full rank, every output belongs to q pairs, and neither A nor B nor the sum
of what both say gives it: heads alone are scarce. The simplest trigrams, A..B -> A, are no such task: one head that copies
does all of them. Nor are trigrams with outputs of their own: what A says and what B says add up to them without any
attention.

A head that attends or does not, all or nothing, gives a source one output, hence q pairs, a permutation. So H heads without
sharing do H q of q^2. A pair counts as learned when more than 99 % of its sequences are right (the sheet's bar). Three things
are asked of networks that do more: that no single head does a pair (the others at their mean); that attention is a number and
not a switch (rounded to two levels a head, pairs are lost); and what it costs when two sources are there at once.

Built networks bound the measures: `permutations`, which share nothing, and a noisy `circle_code`, two heads that do all q^2
pairs with attention as a point on a circle. Controls: attention that cannot depend on tokens, no attention to oneself, rare
destinations, and training with two sources. Prior: Anthropic, May and July 2023 updates (trigrams of one common source: two
heads, one predicting and one taking back, do any number of them without loss, so counting trigrams alone shows no
superposition).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
import torch

from superscope import plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.tables import arm, arms
from superscope.evidence.wording import answer
from superscope.lab import Lab
from superscope.toys import latin_square
from superscope.toys.latin_square import Bags, Heads

PROBLEM = "4.15"
TITLE = "Superposition of attention heads"
QUESTION = (
    "Given more skip trigrams than heads can do one by one, do heads share them, how, and how do they cope with interference?"
)
ASSUMPTIONS = [
    "A head without sharing is a switch: it attends to the source or not, and then gives each source one output.",
    "What a head adds to a pair is compared with what it adds on average: its mean is no part of the answer.",
    "Tables in place of query-key and value-output products: nothing but the number of heads is scarce.",
]
DISANALOGIES = [
    "One layer without positions, one-hot tokens, no residual path: real heads read features already in superposition.",
    "Every pair is equally important, and every sequence has a source; language is neither.",
    "Attention in a real model is nearly a switch in many heads; here nothing asks for it to be one.",
]
TIPS = ["A softmax bottleneck of rank H, one for every source", "Draw the attention of two heads as a point in a plane"]

SHARED, UNIFORM, ALONE, CIRCLE = "learned attention", "uniform attention", "heads that share nothing", "noisy circle code"
BAR = 0.99
CURVE = tuple((q, heads) for q in (4, 8, 12) for heads in (1, 2, 3))


@dataclass(frozen=True)
class Config:
    """The square, the heads, and how much training."""

    q: int = 12  # outputs, sources and destinations
    heads: int = 2
    seeds: int = 10
    steps: int = 1500
    points: int = 128  # sequences a step
    lr: float = 0.03
    contexts: int = 50  # sequences that judge a pair
    curve: tuple[tuple[int, int], ...] = ((8, 1), (8, 2), (8, 3))  # (q, heads) of the figure
    noise: float = 0.05  # of the built circle code


PRESETS = {
    "quick": Config(),
    "standard": Config(seeds=20, steps=3000, contexts=200, curve=CURVE),
    "full": Config(seeds=50, steps=20_000, points=256, contexts=400, curve=CURVE),
}

GATE = [
    Check("Two heads learn at least half of all pairs", "share", ">= 0.5", SHARED, by="mean"),
    Check("attention that cannot depend on tokens learns at most a tenth", "share", "<= 0.1", UNIFORM, by="mean"),
    Check("the built switches do the pairs they are built for", "per head", "within [0.99, 1.01]", ALONE, by="mean"),
]
EXPECTED = [
    Expect(
        "more-than-heads", "Heads learn at least twice as many pairs as they could without sharing",
        "per head", ">= 2", of=SHARED, null=UNIFORM, plant=CIRCLE,
        why="Pairs learned over heads times q. Null: the same training with uniform attention. Plant: a noisy circle code.",
    ),
    Expect(
        "not-alone", "At least half of the learned pairs are done by no single head",
        "not alone", ">= 0.5", of=SHARED, null=ALONE, plant=CIRCLE,
        why="Null: one head for each pair. Plant: two heads for every pair.",
        constant="the null is built: each of its pairs is one head's",
    ),
    Expect(
        "analog", "Rounding the attention of every head to two levels loses at least a tenth of the learned pairs",
        "lost by rounding", ">= 0.1", of=SHARED, null=ALONE, plant=CIRCLE,
        why="The two levels are the best of all splits of a head's attention. Null: switches. Plant: points on a circle.",
        constant="the null is built of switches",
    ),
    Expect(
        "mixes", "With two sources at once the answer is neither's in at least a quarter of the sequences",
        "neither", ">= 0.25", of=SHARED, null=ALONE, plant=CIRCLE,
        why="Networks that never saw two sources. Null: switches say both answers. Plant: a point between two points of a "
        "circle is a third answer.",
        constant="the null is built: both sources vote",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Train, measure, judge; then the curve over heads and the controls."""
    seeds = list(lab.seeds(config.seeds))
    main = [
        measured(config, lab, SHARED, config.q, config.heads),
        measured(config, lab, UNIFORM, config.q, config.heads, uniform=True),
        arm(ALONE, seeds, **examine(repeated(latin_square.permutations(config.q, config.heads), len(seeds)), config, lab.seed)),
        arm(CIRCLE, seeds, **examine(circles(config, seeds), config, lab.seed)),
    ]
    table = arms(*main)
    passed = gate(table, GATE)
    controls = arms(
        measured(config, lab, "no attention to oneself", config.q, config.heads, self_attention=False),
        measured(config, lab, "destinations by Zipf's law", config.q, config.heads, zipf=1.0),
        measured(config, lab, "trained with two sources", config.q, config.heads, sources=2),
    )
    curve = arms(*(measured(config, lab, f"{q}, {h}", q, h).assign(q=q, heads=h) for q, h in config.curve))
    drawn = lab.unit("points", partial(points, config, seeds[0]))
    mean = table.groupby("arm").mean(numeric_only=True)
    claims = judge(table, EXPECTED, passed)
    verdict = {claim.id: claim.verdict for claim in claims}
    return Findings(
        passed,
        claims,
        figures(config, table, curve, drawn),
        {"arms": table, "controls": controls, "curve": curve},
        answer=answer(
            "{heads} heads do {times} times what they could do one by one{how}.",
            heads=config.heads,
            times=mean.loc[SHARED, "per head"],
            how=": attention is a point in their plane, no switch" if verdict["analog"] == "supported" else "",
        ),
    )  # fmt: skip


def measured(config: Config, lab: Lab, name: str, q: int, heads: int, **options) -> pd.DataFrame:
    """Trained networks of one kind, one row a seed."""
    seeds = list(lab.seeds(config.seeds))
    said = ", ".join(f"{k}={v}" for k, v in options.items())
    found = lab.unit(f"{q}-{heads}-{said or 'plain'}".replace(" ", ""), partial(trained, config, q, heads, seeds, options))
    return arm(name, seeds, **found)


def trained(config: Config, q: int, heads: int, seeds: list[int], options: dict) -> dict[str, list[float]]:
    """Train one network a seed and measure all."""
    model = latin_square.train(q, heads, seeds, config.steps, config.lr, config.points, **options)
    return examine(model, config, seeds[0])


def repeated(model: Heads, count: int) -> Heads:
    """`count` copies of one network."""
    return Heads(*(one.repeat(count, *[1] * (one.ndim - 1)) for one in (model.scores, model.values, model.bias, model.mask)))


def circles(config: Config, seeds: list[int]) -> Heads:
    """The plant: a circle code a seed; further heads add nothing but noise of the same size."""
    made = [latin_square.circle_code(config.q, config.noise, seed) for seed in seeds]
    return Heads(*(torch.cat(parts) for parts in zip(*((m.scores, m.values, m.bias, m.mask) for m in made), strict=True)))


def examine(model: Heads, config: Config, seed: int) -> dict[str, list[float]]:
    """One value a network: share and number of pairs learned, and of those, how they are done."""
    q, nets, heads = model.q, len(model.bias), model.heads
    rng = np.random.default_rng([seed, 15])
    pairs = np.repeat(np.arange(q * q), config.contexts)
    source, destination = (np.tile(one, (nets, 1)) for one in np.divmod(pairs, q))
    x = latin_square.bags(source, destination, q, rng)
    weight, _ = model.attention(x)
    to_source = weight[..., latin_square.FILLERS]
    parts = model.parts(x)

    def right(added: torch.Tensor) -> torch.Tensor:
        """(net, pair) share of sequences answered rightly, from the logits (net, P, q)."""
        hit = (added.argmax(-1) == x.output).float()
        return hit.reshape(nets, q * q, config.contexts).mean(-1)

    bias = model.bias[:, None]
    learned = right(parts.sum(2) + bias) > BAR
    number = learned.sum(1)
    average = parts.mean(1, keepdim=True)  # of a head, over all sequences
    lone = [
        right(parts[:, :, h] + average.sum(2) - average[:, :, h] + bias) > BAR for h in range(heads)
    ]  # fmt: skip
    alone = torch.stack(lone).any(0) & learned
    kept = (right(model.parts(x, two_levels(to_source)).sum(2) + bias) > BAR) & learned
    other = (source + rng.integers(1, q, source.shape)) % q
    both = latin_square.bags(source, destination, q, rng, other)
    said = model.logits(both)
    top = said.argmax(-1)
    neither = ((top != both.output) & (top != (both.second + both.destination) % q)).float()
    neither = neither.reshape(nets, q * q, config.contexts).mean(-1)
    some = number.clamp(min=1)
    nan = torch.where(number > 0, 0.0, torch.nan)
    return {
        "share": (number / q**2).tolist(),
        "per head": (number / (heads * q)).tolist(),
        "not alone": (1 - alone.sum(1) / some + nan).tolist(),
        "lost by rounding": (1 - kept.sum(1) / some + nan).tolist(),
        "neither": ((neither * learned).sum(1) / some + nan).tolist(),
    }


def two_levels(to_source: torch.Tensor) -> torch.Tensor:
    """Attention (net, P, H) rounded to two levels a head: the means of both sides of the split that loses least (Otsu's)."""
    flat = to_source.transpose(1, 2)  # (net, H, P)
    order = flat.sort(-1).values
    count = torch.arange(1, order.shape[-1] + 1, dtype=order.dtype)
    total = order.cumsum(-1)
    low, high = total / count, (total[..., -1:] - total) / (count[-1] - count).clamp(min=1)
    between = count * (count[-1] - count) * (low - high) ** 2
    best = between.argmax(-1, keepdim=True)
    split = order.gather(-1, best)
    return torch.where(flat <= split, low.gather(-1, best), high.gather(-1, best)).transpose(1, 2)


def points(config: Config, seed: int) -> pd.DataFrame:
    """Attention of the first two heads to one source, for every destination, in the first trained network."""
    model = latin_square.train(config.q, 2, [seed], config.steps, config.lr, config.points)
    destination = np.arange(config.q)[None]
    rows = []
    for source in (0, 1):
        x: Bags = latin_square.bags(np.full_like(destination, source), destination, config.q, np.random.default_rng(seed))
        weight = model.attention(x)[0][0, :, :, latin_square.FILLERS]
        rows += [
            {"source": f"source {source}", "output": int(c), "head 0": float(w[0]), "head 1": float(w[1])}
            for w, c in zip(weight, x.output[0], strict=True)
        ]
    return pd.DataFrame(rows)


def figures(config: Config, table: pd.DataFrame, curve: pd.DataFrame, drawn: pd.DataFrame) -> list[Figure]:
    """The code as points in the plane of two heads; pairs learned by heads."""
    plane = plots.figure(height=440, xaxis_title="attention of head 0 to the source", yaxis_title="attention of head 1")
    for name, rows in drawn.groupby("source", sort=False):
        plane.add_scatter(
            x=rows["head 0"].tolist(), y=rows["head 1"].tolist(), mode="markers+text", name=str(name),
            text=rows["output"].astype(str).tolist(), textposition="top center", marker={"size": 9},
        )  # fmt: skip
    grown = curve.groupby(["q", "heads"], as_index=False).agg(
        pairs=("share", "mean"), low=("share", "min"), high=("share", "max")
    )
    grown["square"] = "q = " + grown["q"].astype(str)
    lines = plots.lines_with_band(
        grown, "heads", "pairs", "square", "low", "high", x_title="heads", y_title="share of the q² pairs learned"
    )
    for q in sorted(set(grown["q"])):
        heads = sorted(set(grown[grown["q"] == q].heads))
        lines.add_scatter(
            x=heads, y=[min(1, h / q) for h in heads], mode="lines", name=f"q = {q}, without sharing",
            line={"dash": "dot", "color": plots.ROLES["theory"]},
        )  # fmt: skip
    return [
        Figure(
            "plane", plane,
            "How two heads hold the outputs of one source: each dot is a destination, beside it the output that must be "
            "said. Switches would sit in corners.",
        ),
        Figure("heads", lines, "Pairs learned by the number of heads (mean and range over seeds), and one by one."),
    ]  # fmt: skip
