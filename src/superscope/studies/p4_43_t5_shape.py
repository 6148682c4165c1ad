"""4.43: is there less superposition with 64 neurons for every dimension, the shape of the 11-billion-parameter T5?

Set-up. T5s trained here (encoder and decoder, ReLU, no biases, spans of text to fill in) have streams of 32 dimensions and 4,
16 or 64 neurons for each, as t5-large, t5-3b and t5-11b have for each of 1,024; three seeds of each on the same text. What is
asked of every encoder layer: do its neurons' directions crowd together (mean squared cosine times d, nearest and most opposite
neighbours against directions of the same anisotropy), how many neurons are dead, how sparsely do the others fire, and on how
few words. All is read by the code that reads one layer of T5-11B from its folder (`--checkpoint`), where there is one.

Nulls. Directions: drawn with the same mean and anisotropy. More neurons: the narrow layer with every neuron copied 16 times
with noise, which has the width and nothing new. Widths of the stream: the rarest features left out first (weak superposition),
so that the loss falls as Zipf's law says.

Prior numbers: t5-11b has d_model 1,024, d_ff 65,536, 24 encoder layers (Raffel et al. 2020); nothing is published on its
neurons. With strong superposition the loss falls as 1/d (Liu et al. 2025; exponent .91 +- .04 in language models). The toy
answer: a hidden ReLU layer gives every feature a neuron once there are neurons for all of them (Elhage et al. 2022): with 16
times the neurons each should be about fewer words.
"""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from superscope import lms, plots, store
from superscope.evidence.expect import Check, Expect, gate, judge
from superscope.evidence.findings import Figure, Findings
from superscope.evidence.wording import answer, number
from superscope.lab import PUBLISHED, Lab
from superscope.measure.activations import firing
from superscope.measure.weights import crowding, widths

PROBLEM = "4.43"
TITLE = "The original T5-XXL, 64 neurons per dimension"
QUESTION = "Is there less superposition in the MLPs of the 11-billion-parameter T5, with 65,536 neurons for 1,024 dimensions?"
ASSUMPTIONS = [
    "A neuron's direction is its row of wi (what it reads) or its column of wo (what it writes); lengths are set aside.",
    "Whole texts are read: the encoder was trained on texts with spans taken out.",
    "What a neuron is about is counted in tokens; what it reads from the words before is not seen.",
    "The models differ in width alone: the same text in the same order, the same rate of learning.",
]
DISANALOGIES = [
    "Streams of 32 dimensions, two encoder layers and 3.5M tokens: T5-11B has 1,024, 24 and 34 billion.",
    "Trained for so short a time, wide layers may be further from what they would become than narrow ones.",
    "The exponent rests on streams of 8, 16 and 32 dimensions, of two seeds.",
]
TIPS = ["Weights alone need no forward pass", "v1.1-XXL is another shape: 4,096 dimensions, 10,240 gated neurons"]

NARROW, MIDDLE, WIDE = "x4", "x16", "x64"
TIMES = {NARROW: 4, MIDDLE: 16, WIDE: 64}
COPIES, RAISED, KILLED, SPREAD = "x4 copied", "copies with raised thresholds", "copies, some dead", "copies spread evenly"
LIKE, DOUBLED, OPPOSED, TUNED = "directions like x64", "directions doubled", "directions opposed", "copies tuned to words"
OTHERS, ALONG, EVEN, UNEVEN = "outputs of other neurons", "outputs along inputs", "isotropic", "planted spectrum"
BY_WIDTH, WEAK, STRONG = "streams of 8, 16, 32", "weak superposition", "strong superposition"
WIDTHS = ("d8", "d16", "x4")
ABSENT = (
    "T5-11B was left out: put its Hugging Face folder (t5-11b: config.json and weights, read by memory map) anywhere and give "
    "it with --checkpoint FOLDER"
)


@dataclass(frozen=True)
class Config:
    """How much text and how many neurons are looked at; and a T5 of others."""

    rows: int = 40  # rows of 128 tokens
    neurons: int = 512  # of each layer whose firing is read
    sample: int = 1000  # neurons whose nearest neighbours are looked for
    checkpoint: str = ""  # folder of a T5 saved by transformers, such as t5-11b
    layers: tuple[int, ...] = ()  # of the checkpoint; () is the first, the middle and the last

    def __post_init__(self) -> None:
        if min(self.rows, self.neurons, self.sample) < 2:
            raise ValueError(f"rows={self.rows}, neurons={self.neurons}, sample={self.sample}: expected at least 2 of each")


PRESETS = {
    "quick": Config(),
    "standard": Config(rows=240, neurons=2048, sample=2048),
    "full": Config(rows=800, neurons=2048, sample=2048),
}

GATE = [
    Check("What the encoder makes of the text is worth 0.3 nats per token taken out", "gain", ">= 0.3", NARROW),
    Check("and with the most neurons", "gain", ">= 0.3", WIDE),
    Check("near-duplicates planted among directions are seen", "near in", ">= 0.2", DOUBLED),
    Check("directions without pairs have none", "near in", "within [-0.05, 0.05]", LIKE),
]
_NONE = "Null: directions of the same mean and anisotropy, without pairs. Plant: half of them in pairs, half to nine tenths of "
_COPY = "Null: x4 with each neuron copied 16 times with noise: as many neurons, nothing new. Plant: "
_OF, _NULL = f"{WIDE} / {NARROW}", f"{COPIES} / {NARROW}"
# Written before any trained T5 was looked at. Neighbours: as if a fifth of the neurons had exact doubles. Ratios: 16 times the
# neurons with a neuron for each feature would give 1/16; 2/3 and .8 ask for far less.
EXPECTED = [
    Expect("unequal", "With 64 neurons per dimension they read directions unequally: mean squared cosine 1.2 times isotropic",
           "crowding in", ">= 1.2", of=WIDE, null=EVEN, plant=UNEVEN,
           why="Null: isotropic rows of the same lengths. Plant: rows whose strength falls as the root of their rank, noise."),
    Expect("spreads", "With 16 times the neurons they read them more equally: mean squared cosine at most .8 times",
           "crowding in", "<= 0.8", of=_OF, null=_NULL, plant=f"{SPREAD} / {NARROW}",
           why=_COPY + "the copies turned to use all directions equally."),
    Expect("spreads-out", "and write to them more equally", "crowding out", "<= 0.8", of=_OF, null=_NULL,
           plant=f"{SPREAD} / {NARROW}", why=_COPY + "as above.", note="The rule of inputs, added once two seeds were seen."),
    Expect("near", "Neurons have near-doubles in what they read: nearest neighbour a fifth of the way from chance to 1",
           "near in", ">= 0.2", of=WIDE, null=LIKE, plant=DOUBLED, why=_NONE + "the way from chance to 1."),
    Expect("near-out", "and in what they write", "near out", ">= 0.2", of=WIDE, null=LIKE, plant=DOUBLED,
           why=_NONE + "the way from chance to 1."),
    Expect("opposed", "Neurons come in opposite pairs: most opposite neighbour a fifth of the way from chance to -1",
           "opposed in", ">= 0.2", of=WIDE, null=LIKE, plant=OPPOSED, why=_NONE + "the way from chance to -1."),
    Expect("aligned", "Neurons write along what they read: squared cosine of input and output at least 1.5 times chance",
           "aligned", ">= 1.5", of=WIDE, null=OTHERS, plant=ALONG,
           why="Null: each neuron with another's output. Plant: a third of them with cosines of .3 to .6 of either sign."),
    Expect("dead", "With 16 times the neurons more of them are dead, by 5 % of the layer or more",
           "dead", ">= 0.05", of=f"{WIDE} - {NARROW}", null=f"{COPIES} - {NARROW}", plant=f"{KILLED} - {NARROW}",
           why=_COPY + "10 to 20 % of the copies read nothing."),
    Expect("sparser", "With 16 times the neurons the living ones fire on at most 2/3 as many tokens",
           "density", "<= 0.667", of=_OF, null=_NULL, plant=f"{RAISED} / {NARROW}",
           why=_COPY + "the copies' thresholds raised by .5 to 1.5 standard deviations."),
    Expect("fewer-documents", "and in at most .8 times as many documents",
           "documents", "<= 0.8", of=_OF, null=_NULL, plant=f"{RAISED} / {NARROW}", why=_COPY + "as above."),
    Expect("selective", "With 16 times the neurons each is about fewer words: effective number over chance at most .8 times",
           "words", "<= 0.8", of=_OF, null=_NULL, plant=f"{TUNED} / {NARROW}",
           why=_COPY + "copies that read what tells one word from the others, and a third of themselves.",
           note="Chance is the same firing in random places, so firing rarely alone is not counted."),
    Expect("law", "The loss falls as 1/d with the width of the stream: exponent between .7 and 1.3",
           "exponent", "within [0.7, 1.3]", of=BY_WIDTH, null=WEAK, plant=STRONG,
           why="Null: all but the d most frequent tokens left out. Plant: squared overlap of 4,096 random directions in d "
           "dimensions, weighted by frequencies, with 1 % noise.",
           note="log2 of the first difference over the second: what no width removes drops out. The models are still learning "
           "when they stop, that of 8 dimensions has barely passed frequencies: a failure speaks of that first."),
]  # fmt: skip


def run(config: Config, lab: Lab) -> Findings:
    """Every trained seed on its own, a checkpoint's layers where there is one; then the rules asked of each seed."""
    seeds, mark = range(len(twins(NARROW))), store.digest(vars(config))[:8]
    parts = [
        lab.unit(f"seed{seed}-{mark}", functools.partial(examine, seed, config, lab)) for seed in lab.progress(seeds, "seeds")
    ]
    if not config.checkpoint:
        lab.note(ABSENT)
    parts += [published(config, lab)] if config.checkpoint else []
    table = pd.concat(parts, ignore_index=True)
    passed = gate(table, GATE)
    losses = ", ".join(f"{arm} {number(table.loc[table.arm == arm, 'loss'].mean(), 3)}" for arm in TIMES)
    return Findings(
        passed,
        judge(table, EXPECTED, passed),
        figures(table),
        {"arms": table.drop(columns="by width")},
        f"Loss in nats per token taken out: {losses}.",
        in_short(table, bool(config.checkpoint)),
    )


def in_short(table: pd.DataFrame, read: bool) -> str:
    """The sentence the page opens with."""
    wide, narrow = (table[table.arm == arm][["density", "words"]].mean() for arm in (WIDE, NARROW))
    return answer(
        "In small T5s, 16 times the neurons fire {density} times as often and on {words}; {read}.",
        density=float(wide.density / narrow.density),
        words="fewer words each" if wide.words < 0.8 * narrow.words else "no fewer words each",
        read="a T5 of others was read, too" if read else "T5-11B was not read",
    )


def twins(name: str) -> list[Path]:
    """Folders of the seeds of a mini T5."""
    found = (lms.shelf.models_folder() / "t5").glob(f"{name}*/config.json")
    return sorted(path.parent for path in found if path.parent.name.partition("-s")[0] == name)


def examine(seed: int, config: Config, lab: Lab) -> pd.DataFrame:
    """One row per arm of one seed."""
    from superscope.lms.corpus.tokenizer import Tokenizer
    from superscope.lms.model import t5

    rng = lab.rng(f"4.43 {seed}")
    split = lms.corpus.sample(Tokenizer.read(lms.shelf.models_folder() / lms.shelf.TOKENIZER))
    rows = split.rows(128, limit=config.rows, seed=lab.seed)
    arms: dict[str, list[dict[str, float]]] = {}
    for name in TIMES:
        encoder = t5.open_t5(twins(name)[seed])
        for layer in range(encoder.sizes.n_layers):
            w_in, w_out, x = one_layer(encoder, layer, rows.tokens)
            read = functools.partial(numbers, x=x, rows=rows, split=split, config=config, rng=rng)
            arms.setdefault(name, []).append(read(w_in, w_out))
            wider = widened(w_in, w_out, x, rows.tokens[:, 1:].ravel(), rng) if name == NARROW else {}
            for arm, weights in wider.items():
                arms.setdefault(arm, []).append(read(*weights))
            for arm, row in planted(w_in, w_out, config, rng).items() if name == WIDE else ():
                arms.setdefault(arm, []).append(row)
    table = pd.DataFrame([{"arm": arm, **pd.DataFrame(layers).mean().to_dict()} for arm, layers in arms.items()])
    cards = {name: store.read_json(twins(name)[seed] / "config.json") for name in {*TIMES, *WIDTHS} if seed < len(twins(name))}
    losses = {name: one["superscope"]["loss"] for name, one in cards.items()}
    table["loss"] = [losses[arm]["text"] if arm in losses else np.nan for arm in table.arm]
    table["gain"] = [losses[arm]["other text"] - losses[arm]["text"] if arm in losses else np.nan for arm in table.arm]
    laws = {BY_WIDTH: [losses[name]["text"] for name in WIDTHS], **by_law(split, rng)} if {*WIDTHS} <= {*losses} else {}
    more = [{"arm": arm, "exponent": widths.exponent(by), "by width": list(by)} for arm, by in laws.items()]
    return pd.concat([table, pd.DataFrame(more)], ignore_index=True).assign(seed=seed)


def one_layer(encoder: Any, layer: int, tokens: np.ndarray, bos: bool = True, **told: Any) -> tuple[np.ndarray, ...]:
    """w_in (n, d), w_out (n, d) of an encoder layer, and what it reads (token, d) of rows of text without BOS.

    bos: did the model learn with BOS before every row? T5s of others did not, and never see it.
    """
    after = encoder.attended(layer, encoder.residual(lms.rows_to_tensor(tokens if bos else tokens[:, 1:]), layer, **told))
    part = encoder.feed_forward(layer)
    return part.w_in.numpy(), part.w_out.numpy(), part.inputs(after)[:, int(bos) :].flatten(0, 1).numpy()


def numbers(
    w_in: np.ndarray, w_out: np.ndarray, x: np.ndarray, rows: Any, split: Any, config: Config, rng: np.random.Generator
) -> dict[str, float]:
    """What is measured of one layer: its weights, and its firing on text."""
    which = rng.choice(len(w_in), min(config.neurons, len(w_in)), replace=False)
    documents = split.document[rows.place[:, 1:].ravel()]
    tokens = rows.tokens[:, 1:].ravel()
    found = firing.firing(lambda some: np.maximum(x @ w_in[which[some]].T, 0), len(which), tokens, documents, rng)
    alive = found[found.density > 0]
    medians = {name: float(alive[name].median()) for name in ("density", "documents", "sparseness", "words")}
    return {**crowding.report(w_in, w_out, rng, config.sample), "dead": float((found.density == 0).mean()), **medians}


def widened(
    w_in: np.ndarray, w_out: np.ndarray, x: np.ndarray, tokens: np.ndarray, rng: np.random.Generator
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Weights 16 times as wide: a narrow layer's, copied with noise, and what is planted there by what x it reads of tokens."""
    one, other = (crowding.copied(rows, 16, rng) for rows in (w_in, w_out))
    spread, constant = (x @ one.T).std(axis=0), firing.constant_reader(x)
    words, height = firing.word_readers(x, tokens, len(one), rng)
    made = {
        COPIES: one, SPREAD: crowding.evened(one),
        RAISED: one - np.outer(rng.uniform(0.5, 1.5, len(one)) * spread, constant),
        KILLED: np.where(rng.random((len(one), 1)) < rng.uniform(0.1, 0.2), 0, one),
        TUNED: 0.3 * one + (words - np.outer(0.6 * height, constant)) * spread[:, None],
    }  # fmt: skip
    return {arm: (rows.astype(np.float32), crowding.evened(other) if arm == SPREAD else other) for arm, rows in made.items()}


def planted(w_in: np.ndarray, w_out: np.ndarray, config: Config, rng: np.random.Generator) -> dict[str, dict[str, float]]:
    """Nulls and plants of directions: each is measured as the layer is."""
    n, d = w_in.shape
    out: dict[str, dict[str, float]] = {LIKE: {}, DOUBLED: {}, OPPOSED: {}}
    for kind, rows in (("in", w_in), ("out", w_out)):
        like = crowding.directions_like(rows, rng)
        near, far = (float(np.abs(one).mean()) for one in crowding.nearest(like))
        doubled, opposed = (
            crowding.planted_duplicates(like, sign * (1 - (1 - chance) * rng.uniform(0.1, 0.5, n // 4)), rng)
            for sign, chance in ((1, near), (-1, far))
        )
        for arm, made in ((LIKE, like), (DOUBLED, doubled), (OPPOSED, opposed)):
            found = crowding.excess(made, rng, config.sample)
            out[arm] |= {f"{name} {kind}": found[name] for name in ("near", "opposed")}
    lengths = np.linalg.norm(w_in, axis=1, keepdims=True)
    even = rng.standard_normal((n, d))
    uneven = even * np.arange(1, d + 1) ** -0.5 + 0.1 * rng.standard_normal((n, d))
    for arm, made in ((EVEN, even), (UNEVEN, uneven)):
        out[arm] = {"crowding in": crowding.crowding(made / np.linalg.norm(made, axis=1, keepdims=True) * lengths)}
    out[OTHERS] = {"aligned": crowding.alignment(w_in, rng.permutation(w_out))[0]}
    cosines = np.where(rng.random(n) < 1 / 3, rng.uniform(0.3, 0.6, n) * rng.choice([-1, 1], n), np.nan)
    out[ALONG] = {"aligned": crowding.alignment(w_in, crowding.turned_along(rng.permutation(w_out), w_in, cosines))[0]}
    return out


def by_law(split: Any, rng: np.random.Generator) -> dict[str, list[float]]:
    """Losses at widths of 8, 16 and 32 of weak and of strong superposition, with the frequencies of half the documents."""
    half = np.asarray(rng.random(len(split.documents)) < 0.5)
    share = np.bincount(split.tokens[half[split.document]], minlength=4096) + 1.0
    share /= share.sum()
    return {WEAK: widths.weak_losses(share, (8, 16, 32)), STRONG: widths.strong_losses(share, (8, 16, 32), rng, 0.01)}


def published(config: Config, lab: Lab) -> pd.DataFrame:
    """One row per layer of the checkpoint: weights, and firing where the folder has a tokenizer."""
    from superscope.lms.model import folders, t5

    encoder = t5.open_t5(config.checkpoint)
    s, name = encoder.sizes, Path(config.checkpoint).expanduser().name
    layers = config.layers or tuple(dict.fromkeys((0, s.n_layers // 2, s.n_layers - 1)))
    if wrong := [layer for layer in layers if not 0 <= layer < s.n_layers]:
        raise lms.ModelError(f"layers {config.layers!r} of {config.checkpoint}: {wrong[0]} is none of 0 to {s.n_layers - 1}")
    need = max(encoder.planned(config.rows, 127), encoder.planned(0, 0, whole=False) + crowding.planned(s.d_ff, s.d_model))
    have = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    said = f"{name}: one layer at a time, about {need / 2**30:.1f} GB"
    lab.note(said)
    if need > have:
        raise lms.ModelError(f"{said}, and the machine has {have / 2**30:.1f} GB: use fewer rows than --rows {config.rows}")
    split = None
    try:
        split = lms.corpus.sample(folders.read_tokenizer(encoder.folder, store.read_json(encoder.folder / "config.json")))
    except lms.ModelError as error:
        lab.note(f"{name}: weights only, since its text cannot be read ({error})")
    mark = store.digest([encoder.fingerprint, vars(config)])[:10]
    parts = [
        lab.unit(f"checkpoint-{mark}-{layer}", functools.partial(published_layer, encoder, layer, split, said, config, lab))
        for layer in lab.progress(layers, said)
    ]
    return pd.concat(parts, ignore_index=True).assign(arm=f"{PUBLISHED} {name}", times=s.d_ff / s.d_model)


def published_layer(encoder: Any, layer: int, split: Any, said: str, config: Config, lab: Lab) -> pd.DataFrame:
    """The row of one layer; the stream is put down after every layer, so that work which was killed goes on there."""
    rng = lab.rng(f"4.43 {encoder.folder.name} {layer}")
    if split is None:
        part = encoder.feed_forward(layer)
        return pd.DataFrame([{"layer": layer, **crowding.report(part.w_in.numpy(), part.w_out.numpy(), rng, config.sample)}])
    rows = split.rows(128, limit=config.rows, seed=lab.seed)
    with lab.bar(max(1, layer), f"{said}; up to layer {layer}") as advance:
        w_in, w_out, x = one_layer(encoder, layer, rows.tokens, False, keep=lab.folder / "t5", advance=advance)
    return pd.DataFrame([{"layer": layer, **numbers(w_in, w_out, x, rows, split, config, rng)}])


def figures(table: pd.DataFrame) -> list[Figure]:
    """What changes with the number of neurons per dimension, beside what copies alone change; and the loss by width."""
    out = []
    for name, columns, title, caption in (
        ("crowding", ("crowding in", "crowding out", "aligned"), "times chance", "Mean squared cosines, over isotropic ones."),
        ("neighbours", ("near in", "near out", "opposed in", "opposed out"), "from chance (0) to a double (1)",
         "Nearest and most opposite neighbours, against directions of the same mean and anisotropy."),
        ("firing", ("density", "documents", "words", "dead"), "share",
         "Tokens and documents that living neurons fire on; words over chance; dead neurons."),
    ):  # fmt: skip
        chart = plots.figure()
        for column, colour in zip(columns, plots.PALETTE, strict=False):
            every = [(times, y) for arm, times in TIMES.items() for y in table.loc[table.arm == arm, column]]
            means = [table.loc[table.arm == arm, column].mean() for arm in TIMES]
            chart.add_scatter(x=list(TIMES.values()), y=means, mode="lines", name=column, line={"color": colour})
            x, y = zip(*every, strict=True)
            chart.add_scatter(x=x, y=y, mode="markers", marker={"color": colour}, showlegend=False)
            if name != "neighbours":
                chart.add_scatter(
                    x=[TIMES[WIDE]], y=[table.loc[table.arm == COPIES, column].mean()], mode="markers", showlegend=False,
                    marker={"color": colour, "symbol": "circle-open", "size": 11},
                )  # fmt: skip
        chart.update_xaxes(title_text="neurons per dimension", type="log", tickvals=list(TIMES.values()))
        chart.update_yaxes(title_text=title)
        out.append(
            Figure(name, chart, f"{caption} Lines: means of the seeds. Open: the narrow layer's neurons copied 16 times.")
        )
    losses = plots.figure()
    for row in table[table.arm == BY_WIDTH].to_dict("records"):
        name = f"seed {row['seed']:.0f}"
        losses.add_scatter(x=[1 / 8, 1 / 16, 1 / 32], y=list(row["by width"]), mode="lines+markers", name=name)
    losses.update_xaxes(title_text="1 / width of the stream")
    losses.update_yaxes(title_text="nats per token taken out")
    out.append(Figure("law", losses, "A straight line is the law of strong superposition, loss = c + k / d."))
    return out
