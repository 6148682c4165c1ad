"""Do sparse autoencoders find the true features of a toy? Where the features are known this can be decided.

Each chapter trains autoencoders on a world of known features and holds them against theory or a published number, always with
a null measured by the same code that must fail and a planted case that must pass. Chapters: latents too few for correlated
features (sparse but wrong), one latent for a parent and its child (hedging), a child that carries its parent (absorption) and
what Matryoshka does to both, decoders and encoders that never learn (the controls of Korznikov et al. 2026), polygons packed
by a toy model of superposition, where the true L0 shows, and whether dictionary or encoder is at fault.

All scores of matching stand beside those of a random dictionary and are given as (score - null) / (1 - null).
"""

from __future__ import annotations

import pandas as pd

from superscope.evidence.expect import Check, gate, judge
from superscope.evidence.findings import Findings
from superscope.evidence.wording import answer
from superscope.lab import Lab
from superscope.studies.sae_toys import detector, frozen, hierarchy, panel, polygons, sparse_wrong
from superscope.studies.sae_toys.config import PRESETS, Config

__all__ = ["PRESETS", "Config", "run"]

PROBLEM = "sae-toys"
TITLE = "Do sparse autoencoders find the true features of a toy?"
QUESTION = (
    "Where the true features are known, what do sparse autoencoders find, hedge, absorb and split, and how much of it would a "
    "random dictionary get?"
)
ASSUMPTIONS = [
    "Features are known, linear and embedded by fixed directions; a latent stands for the feature it is matched to by cosine.",
    "Trainings are short; most start at the truth, so that leaving it is a choice of the loss and not of the start.",
    "Data are drawn anew for every seed; within a chapter all seeds share the true directions.",
]
DISANALOGIES = [
    "A language model's features are not known, may not be linear, and may not be features; here they are by construction.",
    "Tens or hundreds of features, where a language model has far more than any dictionary: nothing here is about scale.",
    "Worlds are stationary and noiseless: what a dictionary leaves over is another feature, never noise.",
    "A feature that a toy does not hold cannot be missed; in a language model most may be missing.",
]
TIPS = [
    "Put every score beside that of a random dictionary: in two dimensions five random latents have a sign-blind MCC of .87.",
    "Low reconstruction error is no sign of a right dictionary: with too few latents on, the wrong one reconstructs better.",
]

GATE = [
    Check(
        "A trained autoencoder fires like some features: F1 above chance by a quarter",
        "F1",
        "> 0.25",
        frozen.TRAINED,
        by="mean",
    ),
    Check("a random dictionary does not", "F1", "< 0.25", frozen.RANDOM, by="mean"),
    Check("and the truth with a trained encoder does", "F1", "> 0.5", frozen.PLANTED, by="mean"),
]

CHAPTERS = (sparse_wrong, hierarchy, frozen, polygons, detector, panel)
EXPECTED = [row for one in CHAPTERS for row in one.EXPECTED]


def run(config: Config, lab: Lab) -> Findings:
    """All chapters; the gate is that dictionaries are learned here at all, and that the scores know a true one."""
    parts = [one.chapter(config, lab) for one in lab.progress(CHAPTERS, "chapters")]
    rows: list[pd.DataFrame] = [table for part in parts for table in part.rows]
    passed = gate(rows, GATE)
    claims = judge(rows, EXPECTED, passed)
    held = sum(claim.verdict == "supported" for claim in claims)
    rest = [f"{claim.id} is {claim.verdict}" for claim in claims if claim.verdict != "supported"]
    return Findings(
        gate=passed,
        claims=claims,
        figures=[figure for part in parts for figure in part.figures],
        tables={name: table for part in parts for name, table in part.tables.items()},
        summary=f"{held} of {len(claims)} claims hold. " + "; ".join(rest),
        answer=in_short(mean_of(rows, frozen.TRAINED, "F1"), mean_of(rows, f"{sparse_wrong.PLUS}, k = 1.8", "mixed")),
    )


def mean_of(rows: list[pd.DataFrame], arm: str, column: str) -> float:
    """Mean of a column over the replicates of an arm, in whichever table has both."""
    held = [table.loc[table.arm == arm, column] for table in rows if column in table and (table.arm == arm).any()]
    return float(pd.concat(held).mean())


def in_short(f1: float, mixed: float) -> str:
    """The sentence the page opens with."""
    return answer(
        "Trained autoencoders fire like the true features at {f1} of what is between chance and truth; given too few latents, "
        "they leave the truth (cosine {mixed} to a correlated feature).",
        f1=f"{f1:.2f}", mixed=f"{mixed:.2f}",
    )  # fmt: skip
