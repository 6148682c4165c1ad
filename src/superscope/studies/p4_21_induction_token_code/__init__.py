"""4.21: how does an induction head pass one of thousands of tokens through a value vector of a few dozen dimensions?

Set-up. The induction heads are all heads with prefix matching above .3 on repeated random tokens (Olsson et al. 2022) in the
layer of the best; they write into one stream and are taken together, each weighted by its attention. What they read of a token
is the mean of LN(stream) over contexts, so what earlier layers add to the embedding is in it. The circuit from there to the
logits (values, outputs, final LayerNorm, unembedding; Elhage et al. 2021) is decomposed as a whole.

HOW, in seven questions: is a token told apart with a margin and under noise (in 2 dimensions thousands of random codes are
told apart without noise); does it take the heads together; is identity spread over the circuit's directions or packed as
tightly as random codes can be; do the leading directions stand for kinds of tokens; who is next to whom; is the code better
than the best linear map of its rank; and does the softmax clean up a crowded code.

The toy answer: n features fit in m dimensions with interference that a nonlinearity filters (4.4, 4.12).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from superscope import lms
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Findings
from superscope.evidence.tables import retractions, unfolded
from superscope.evidence.wording import answer, number, percent, span
from superscope.lab import Lab
from superscope.lms.model import attention
from superscope.measure.activations import heads
from superscope.studies.p4_21_induction_token_code.figures import figures
from superscope.studies.p4_21_induction_token_code.measured import (
    against_least_squares,
    heard,
    static,
    worth,
    written,
)
from superscope.studies.p4_21_induction_token_code.plants import planted
from superscope.studies.p4_21_induction_token_code.setting import (
    CIRCLE,
    COPIERS,
    CROWD,
    FITTED,
    GAINS,
    INIT,
    KINDS,
    ONE,
    PARTNERS,
    RANDOM,
    SHUFFLED,
    SPARSE,
    TRAINED,
    TWINS,
    UNEQUAL,
    UNIT,
    Config,
)
from superscope.studies.p4_21_induction_token_code.words import Words

PROBLEM = "4.21"
TITLE = "How an induction head stores token identity"
QUESTION = "Induction heads pass one of thousands of tokens through a few dozen dimensions: how is it encoded there?"
ASSUMPTIONS = [
    "A token's input is its mean over random contexts; what a context adds to it is measured on real repeats only.",
    "The final LayerNorm's scale is frozen: one positive number per position, which moves no argmax.",
    "Heads are weighted by their prefix matching; the bias of the unembedding, which favours common tokens, is left out.",
]
DISANALOGIES = [
    "A vocabulary of 4096 in 32 dimensions a head and 128 in the stream; published models put 50,000 tokens through 64.",
    "Shortformer positions never enter the values; where they do, a token's code moves with its position.",
    "Random strings in the training make copying of ANY token worth learning; on text alone rare tokens need copying less.",
]
TIPS = ["Decompose the whole circuit, not the value code", "Give the code noise and a margin before calling a token identified"]

RETRACTED = [
    ("copies", "supported (eigenvalue score .98)", "in every model heads that attend to no prefixes pass its rule, too"),
    ("identifies", "supported (270 times the median head)", "divided by chance; now the share told apart with a margin"),
    ("superposed", "supported (74 to 124 tokens a dimension)", "random codes in 2 dimensions reach 2,048: now under noise"),
    ("copies-more", "supported (.04 to .32)", "a difference of any size passed; one head, embedding alone"),
    ("k90 of the value code", "table", "ordered by the code's variance: planted ranks of 4, 8 and 16 all gave 29 of 32"),
]  # fmt: skip


PRESETS = {
    "quick": Config(),
    "standard": Config(contexts=16, draws=1000, rows=48, points=24),
    "full": Config(contexts=64, draws=10_000, rows=200, points=32, published="attn-only-2l"),
}

GATE = [
    Check("Every model has a head with prefix matching of at least 0.3", "prefix matching", ">= 0.3", TRAINED, unit="models"),
    Check("the heads' loss: without them the repeat costs at least 0.5 nats more", "worth", ">= 0.5", TRAINED, unit="models"),
    Check("a circuit of rank 8 planted in noise has rank 8", "gap", "within [8, 8]", COPIERS, unit="models"),
    Check("codes on a circle are not identified with the margin", "identified", "<= 0.01", CIRCLE, unit="models"),
]  # fmt: skip
EXPECTED = [
    Expect(
        "identifies", "Together the heads put at least 90 % of tokens first, ahead by a tenth of their lead over the mean",
        "identified", ">= 0.9", of=TRAINED, null=SHUFFLED, plant=UNEQUAL, unit="models",
        why="Null: the same heads as loud, W_V permuted. Plant: random codes of the same dimension, norms .6 to 1.4.",
        constant="A permuted circuit identifies a token in four thousand by chance, and hardly one with the margin.",
        note="Replaces a ratio to the median head, whose denominator was chance.",
    ),
    Expect(
        "superposed", "Under noise half as large as the code they identify more than ten tokens per dimension",
        "per dimension", "> 10", of=TRAINED, null=CIRCLE, plant=UNEQUAL, unit="models",
        why="Null: random codes in 2 dimensions, 2,048 tokens a dimension without noise. Plant: random codes, norms .6 to 1.4.",
        note="Orthogonal codes give one token per dimension. Ten was fixed before the first model was measured.",
    ),
    Expect(
        "together", "They lead by at least one nat more together than the best of them alone, median over real repeats",
        "margin gained", ">= 1", of=TRAINED, null=PARTNERS, plant=COPIERS, unit="models",
        why="Null: the best head with its partners' W_V permuted. Plant: a copying map dealt out over as many "
        "heads, all with the attention of the best.",
    ),
    Expect(
        "copies-more", "Together they close half of the gap between other heads' best copying score and the perfect one",
        "copies more", ">= 0.5", of=TRAINED, null=INIT, plant=COPIERS, unit="models",
        why="Null: the same heads before training, against the same others. Plant: copying heads by hand against the others.",
        note="Eigenvalue score, 1 when perfect; others: heads that attend to no prefixes, some of which score above .9. A rule "
        "on the difference itself, which built copiers failed, was replaced after the trained heads were seen.",
    ),
    Expect(
        "init-is-null", "Before training they cannot be told from random circuits: |z| of the copying score below 3",
        "copying z", "within [-3, 3]", of=INIT, null=TRAINED, plant=RANDOM, unit="models",
        why="Null: heads that do copy. Plant: a fresh random circuit of their shape.",
    ),
    Expect(
        "spread", "Identity is spread: nine tenths of what is identified take at least half of the circuit's directions",
        "spread", ">= 0.5", of=TRAINED, null=UNIT, plant=SPARSE, unit="models",
        why="Null: random unit codes of the same dimension, of which 19 to 23 directions are enough. Plant: tokens as sums of "
        "three signed directions of unequal strength, with noise.",
        note="Directions in the order of their gain; identified with the margin.",
    ),
    Expect(
        "kinds", "Kinds of tokens (word class; script, case and blank) make a quarter of the eight leading directions",
        "kinds", ">= 0.25", of=TRAINED, null=RANDOM, plant=KINDS, unit="models",
        why="Null: random heads on the same inputs, whose directions have what meaning the embedding gives any. Plant: shares "
        "of .3 to .6, the rest noise.",
        note="Share of the variance over tokens: adjusted R^2 of the better labelling, mean over directions. With "
        "labels permuted among tokens as frequent: 0.",
    ),
    Expect(
        "variants", "For a quarter of tokens with variants (case, blank) the two largest logits are variants of one another",
        "variants", ">= 0.25", of=TRAINED, null=SHUFFLED, plant=TWINS, unit="models",
        why="Null: W_V permuted, so that only the unembedding could put variants side by side. Plant: variants share .2 to .7 "
        "of their code.",
    ),
    Expect(
        "beats-least-squares", "Half of the best head's directions identify 10 % more tokens than the best map of as many",
        "above least squares", ">= 0.1", of=ONE, null=GAINS, plant=FITTED, unit="models",
        why="Null: the least-squares directions with the trained gains. Plant: a map of that rank fitted to identify.",
        note="Best in squared error, from the same inputs to the same unembedding. Half of them, because least squares of all "
        "of them identifies nearly every token, and nothing could pass: halved before the trained head was measured.",
    ),
    Expect(
        "cleaned", "Before the softmax the runner-up has at least half of the token's lead, behind it the token half of the "
        "probability",
        "cleaned", ">= 0.5", of=TRAINED, null=SHUFFLED, plant=CROWD, unit="models",
        why="Null: as loud, W_V permuted. Plant: random codes in 24 dimensions, gains of 24 to 36 nats.",
        note="The smaller of the two medians over repeats; logits of the heads alone, less their mean over tokens. First a "
        "share of repeats, whose null was 0 throughout: replaced after the share (.87 to .96) was known.",
    ),
]  # fmt: skip

LISTS = ("curve", "seen", "map", "meaning", "neighbours", "deciles", "written")  # columns that become tables and figures


def run(config: Config, lab: Lab) -> Findings:
    """Every trained seed on its own; then the rules asked of each."""
    table = lab.models(config.model, examine, config, config.published)
    passed = gate(table, GATE)
    trained = table[table.arm == TRAINED]
    parts = {name: unfolded(table, name) for name in ("meaning", "neighbours", "deciles", "written")}
    arms = table.drop(columns=[name for name in LISTS if name in table])
    return Findings(
        passed,
        judge(table, EXPECTED, passed),
        figures(table),
        {"arms": arms, **parts, "retractions": retractions(RETRACTED)},
        f"Nine tenths of the identified tokens take {span(trained.k90.min(), trained.k90.max())} of "
        f"{span(trained['rank'].min(), trained['rank'].max())} directions; median margin on repeats "
        f"{span(trained.margin.min(), trained.margin.max())} nats together, "
        f"{span(*table[table.arm == ONE].margin.agg(['min', 'max']))} by the best head.",
        in_short(trained),
    )


def in_short(trained: pd.DataFrame) -> str:
    """The sentence the page opens with."""
    return answer(
        "As a {how} code shared by several heads: together they tell {share} of tokens apart; kinds of tokens are {kinds} of "
        "its leading directions.",
        how="spread-out" if trained.spread.min() >= 0.5 else "compact",
        share=percent(float(trained.identified.mean())),
        kinds=number(float(trained.kinds.mean())),
    )


def examine(model: lms.LanguageModel, config: Config, lab: Lab) -> Iterator[dict[str, Any]]:
    """One row per arm of one model."""
    rng = lab.rng(f"4.21 {model.name}")
    tokens = attention.repeated_tokens(model.hooked.cfg.d_vocab, config.period, config.rows, lab.seed, model.tokenizer.bos)
    scores = heads.prefix_scores(model, tokens, config.period)
    layer, which = heads.induction_layer(scores, 0.3)
    own = heads.Heads.of(model, layer, which, scores[layer, which])
    inputs = {at: heads.token_inputs(model, at, config.contexts, lab.seed) for at in range(model.n_layers)}
    read, code = inputs[layer][0], heads.token_code(model, own, inputs[layer][0])
    repeats = heads.Repeats(model, tokens, config.period, layer)
    words = Words(model, rng, config.draws)
    others = max(
        heads.token_code(model, heads.Heads.of(model, at, [head], np.ones(1)), inputs[at][0]).copying
        for at, head in np.argwhere(scores < 0.3).tolist()
    )
    null = heads.random_copying_scores(model.d_model, own.rank, config.draws, lab.seed)
    alone, said = repeats.spoken(own.only([0]), which[:1]), repeats.spoken(own, which)
    gap = 1 - others
    yield {
        "arm": TRAINED, **static(code, config), **heard(said), "layer": layer, "heads": len(which),
        "prefix matching": float(scores[layer, which[0]]), "between tokens": inputs[layer][1], "worth": worth(repeats, which),
        "margin gained": float(np.median(said.margin) - np.median(alone.margin)), "copies more": (code.copying - others) / gap,
        "copying z": (code.copying - null.mean()) / null.std(), "kinds": words.kinds(code.svd),
        "variants": words.variants(code), "meaning": words.meaning(code.svd), "map": words.plane(code.svd),
        "neighbours": words.neighbours(code), "deciles": words.deciles(code), "written": written(repeats, rng),
    }  # fmt: skip
    one = heads.token_code(model, own.only([0]), read)
    best, *others_of_its_rank = against_least_squares(model, one, read, config.steps)
    yield {**static(one, config), **heard(alone), **best}
    yield from others_of_its_rank
    wrong = own.shuffled(list(range(len(which))), rng)
    mixed = heads.token_code(model, wrong, read)
    yield {"arm": SHUFFLED, **static(mixed), **heard(repeats.spoken(wrong, which)), "variants": words.variants(mixed)}
    half = repeats.spoken(own.shuffled(list(range(1, len(which))), rng), which)
    yield {"arm": PARTNERS, "margin gained": float(np.median(half.margin) - np.median(alone.margin))}
    start = model.control("init")
    early = heads.Heads.of(start, layer, which, own.weight)
    before = heads.token_code(start, early, heads.token_inputs(start, layer, config.contexts, lab.seed)[0])
    yield {"arm": INIT, **static(before), "copies more": (before.copying - others) / gap,
           "copying z": (before.copying - null.mean()) / null.std()}  # fmt: skip
    fresh = float(heads.random_copying_scores(model.d_model, own.rank, 1, int(rng.integers(2**31)))[0])
    drawn = heads.token_code(model, own.redrawn(rng), read)
    yield {"arm": RANDOM, **static(drawn), "kinds": words.kinds(drawn.svd),
           "copying z": (fresh - null.mean()) / null.std()}  # fmt: skip
    yield from planted(repeats, own, which, read, code, words, others, config, rng)
