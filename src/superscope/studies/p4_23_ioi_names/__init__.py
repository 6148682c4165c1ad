"""4.23: what do composing heads tell each other in indirect object identification, names or positions, and in how many
dimensions?

After "When Mary and John went to the store, John gave a book to" a model has to say Mary. At the last word, the stream that the
composing layer reads is exchanged for that of a sentence in which the other name is the subject, or in which the two names
stand in the other order (Wang et al. 2022); the first layer whose stream carries nine tenths of the whole exchange is the site.
There the directions of the subject's name are sought in three ways, for 165 capitalised words used as names: principal
components of the names' mean states, a linear probe, and distributed alignment search (Geiger et al. 2023), fitted on some
words and judged on others. A direction can be moved by and read by nobody (Makelov et al. 2023), so each frame is
patched once more with only what the composing heads' queries read of it.

Prior numbers, GPT-2 small: positions carry at least .88 of the exchange and names under .08 (Wang et al. 2022); a one-layer
model of two heads, and a two-layer one of one head, solve the task in symbols (arXiv 2510.25013).
The toy answer: symbols instead of words (BOS A B S end), trained here; two layers of one head pass the name through values, in
some seeds through keys as well, and nothing at the last word hears it before.
And tms: features of which few are on at once need fewer directions than there are features.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from superscope import lms, plots
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.wording import answer, number, span
from superscope.lab import Lab
from superscope.lms.model.tail import Rerun
from superscope.studies.p4_23_ioi_names.counted import directions, message_at
from superscope.studies.p4_23_ioi_names.exchanged import paths_heard, roles
from superscope.studies.p4_23_ioi_names.setting import (
    ADDITIVE,
    BUILT,
    HALVES,
    ILLUSION,
    LOUD,
    MEANS,
    ORDER,
    PERMUTED,
    PRESETS,
    PROBE,
    RANDOM,
    REST,
    SEARCH,
    SQUEEZED,
    SYMBOLIC,
    TRAINED,
    Config,
)  # fmt: skip
from superscope.studies.p4_23_ioi_names.toy import symbolic

__all__ = ["PRESETS", "Config"]

PROBLEM = "4.23"
TITLE = "How names travel in the IOI circuit"
QUESTION = (
    "In indirect object identification, how many dimensions of the residual stream carry the name or position between "
    "composing heads?"
)
ASSUMPTIONS = [
    "Names are single tokens; the sites are the last word's stream before each block.",
    "Directions are those of one subspace for all names; a code that turns with the sentence is not seen.",
    "A patch moves the stream off what the model has met; what it says then is taken at its word.",
]
DISANALOGIES = [
    "Two layers cannot do as GPT-2 does: a position known at the second mention comes to the last word a layer too late, and "
    "these models add positions to queries and keys alone (shortformer). That no position travels is expected of them.",
    "The built message is nearly the model's own: it shows what a token says, not that another model would pass.",
    "Half of a mean difference suffices for the answer to turn, so one-code does not exclude a part that changes with the "
    "sentence; all within-name variance together is a tenth of that between names.",
    "In a deep model the first stream that carries nine tenths may hold the answer itself: see the column answered.",
    "The models were drilled on these frames with thousands of words as names; GPT-2 learned the task from text.",
]
TIPS = [
    "Ask of every direction found who reads it",
    "Fit on some names and judge on others: sixteen names are fifteen dimensions",
]

GATE = [
    Check("IO is likelier than S in nine of ten sentences with pairs of names never drilled", "io over s", ">= 0.9", TRAINED,
          unit="models"),
    Check("One layer's stream at the last word carries nine tenths of the exchange", "carried", ">= 0.9", TRAINED,
          unit="models"),
    Check("Names squeezed into eight directions are found in eight or fewer", "k90", "<= 8", SQUEEZED, unit="models"),
    Check("The whole state, exchanged, is answered right in nine of ten pairs", "whole", ">= 0.9", TRAINED, unit="models"),
    Check("and so are planted means", "whole", ">= 0.9", ADDITIVE, unit="models"),
    Check("An illusion is flagged: less than half of its effect is left of what is read", "read part", "<= 0.5", ILLUSION,
          unit="models"),
    Check("The two-layer toy has learned its task", "io over s", ">= 0.9", SYMBOLIC, unit="models"),
]  # fmt: skip
EXPECTED = [
    Expect(
        "names", "The stream carries which name is the subject: exchanging it alone is four fifths of the whole exchange",
        "moved", ">= 0.8", of=TRAINED, null=ORDER, plant=BUILT, unit="models",
        why="Null: the names' order exchanged, the subject the same name. Plant: only what heads read of the token at S, at "
        "unchanged attention.",
        note="Of the logit difference IO - S that a sentence with the other subject would have.",
    ),
    Expect(
        "queries", "The composing heads hear it through their queries", "by queries", ">= 0.8", of=TRAINED, null=REST,
        unit="models",
        why="Null: what everything but the queries hears of the same exchange.",
        no_plant="a message built of the token is nearly the model's own, and no other model of known wiring is as hard",
        note="The symbolic toy, which passes names through values and keys, is in a table: nothing at its last word hears them "
        "before.",
    ),
    Expect(
        "one-code", "A name's mean message is enough: exchanging two names' means does four fifths of their states", "by means",
        ">= 0.8", of=TRAINED, null=PERMUTED, plant=ADDITIVE, unit="models",
        why="Null: means of two other names. Plant: states that are a name's mean plus what another sentence adds.",
        note="Interchange accuracy over no exchange, over that of the whole state; words that no frame was fitted on.",
    ),
    Expect(
        "beyond-means", "What names differ most in is not what is read: alignment search beats components of means by a tenth",
        "beyond means", ">= 0.1", of=TRAINED, null=HALVES, plant=LOUD, unit="models",
        why="Null: components of the means in other sentences. Plant: a copy of the name, thrice as loud, in what queries "
        "hardly read.",
        note="In interchange accuracy, at eight directions each.",
    ),
    Expect(
        "read", "The directions that queries read nearest to those found do four fifths of their work", "read part", ">= 0.8",
        of=TRAINED, null=ILLUSION, plant=SQUEEZED, unit="models",
        why="Null: the name moved to where no query of the composing heads reads. Plant: names in eight directions that are "
        "read.",
    ),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Every trained seed on its own, then the rules asked of each."""
    table = lab.models(config.model, examine, config, published=config.published)
    bundled = table[~table.arm.str.startswith("published ")]
    passed = gate(bundled, GATE)
    claims = judge(bundled, EXPECTED, passed)
    trained = bundled[bundled.arm == TRAINED]
    frames = pd.DataFrame([row for each in trained.frames for row in each])
    shown = [
        "arm",
        "model",
        "io over s",
        "layer",
        "answered",
        "carried",
        "moved",
        "by queries",
        "k90",
        "by means",
        "read part",
    ]
    symbolic = bundled.loc[
        bundled.arm == SYMBOLIC, ["model", "io over s", "one layer", "through queries", "through keys", "through values"]
    ]
    return Findings(
        passed,
        claims,
        figures(table, frames),
        {
            "arms": table[[column for column in shown if column in table]],
            "frames": frames,
            "paths": pd.DataFrame([row for each in trained.paths for row in each]),
            "symbolic": symbolic,
        },
        f"Directions for nine tenths: {span(trained.k90.min(), trained.k90.max())} by alignment search, "
        f"{span(trained['k90 means'].min(), trained['k90 means'].max())} by means, and a probe names nine tenths in "
        f"{span(trained['k90 probe'].min(), trained['k90 probe'].max())}; {int(trained.words.iloc[0])} words.",
        in_short({claim.id: claim.verdict == "supported" for claim in claims}, trained),
    )


def in_short(supported: dict[str, bool], trained: pd.DataFrame) -> str:
    """The sentence the page opens with."""
    return answer(
        "The last word's stream carries {what}{how}. {words} words need {k} of its directions.",
        what="the subject's name" if supported["names"] else "no name of its own",
        how=", heard by queries" if supported["queries"] else "",
        words=number(float(trained.words.iloc[0])), k=number(float(trained.k90.median())),
    )  # fmt: skip


def examine(model: lms.LanguageModel, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """One row per arm of one model; a published one is asked only what needs no rebuilt part of it."""
    rows, site = roles(model, config, lab.seed)
    if isinstance(site, Rerun):
        yield from rows.values()
        return
    for arm, row in directions(message_at(model, site, config, lab), config, lab.rng(f"4.23 {model.name}")).items():
        rows[arm] = {"arm": arm, **rows.get(arm, {}), **row}
    rows[SYMBOLIC] = {"arm": SYMBOLIC, **symbolic(model, config, lab.seed)}
    rows[TRAINED]["paths"] = paths_heard(model, site.layer, min(config.prompts, 200), lab.seed)
    yield from rows.values()


def figures(table: pd.DataFrame, frames: pd.DataFrame) -> list[Figure]:
    """Accuracy over directions, by estimator; what each exchange moves."""
    drawn = plots.figure(height=440)
    for name in (SEARCH, MEANS, PROBE, RANDOM):
        one = frames[frames.estimator == name].groupby("directions").accuracy.mean()
        drawn.add_scatter(x=one.index.tolist(), y=one.tolist(), mode="lines+markers", name=name)
        if name in (SEARCH, MEANS):
            part = frames[frames.estimator == name].groupby("directions")["read part"].mean()
            drawn.add_scatter(
                x=part.index.tolist(), y=part.tolist(), mode="lines", line={"dash": "dot"}, name=f"{name}, read part"
            )
    drawn.update_layout(
        xaxis={"title": "directions", "type": "log"}, yaxis={"title": "interchange accuracy", "range": [0, 1.02]}
    )
    shown = {TRAINED: "the subject's name", ORDER: "the order of the names", BUILT: "a message built of the token"}
    bars = plots.figure(height=320)
    for name, some in table[table.moved.notna()].groupby("model", sort=False):
        bars.add_bar(x=[shown.get(arm, arm) for arm in some.arm], y=some.moved.tolist(), name=str(name))
    bars.update_layout(yaxis={"title": "share of the whole exchange"}, barmode="group")
    return [
        Figure("exchanges", bars, "What the last word's stream carries: how far an exchange of it alone goes."),
        Figure("directions", drawn, "Exchanged in so many directions, words that no frame was fitted on; mean over the models. "
               "A probe names the subject; nothing is exchanged."),
    ]  # fmt: skip
