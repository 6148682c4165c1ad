"""4.21: the pictures: tokens in the circuit's plane, fewer and fewer directions, before and behind the softmax."""

from __future__ import annotations

import pandas as pd

from superscope import plots
from superscope.evidence.findings import Figure
from superscope.evidence.tables import unfolded
from superscope.studies.p4_21_induction_token_code.setting import ONE, SHUFFLED, SPARSE, TRAINED, UNIT

CURVES = {TRAINED: "treatment", ONE: "", UNIT: "control", SPARSE: "plant"}


def figures(table: pd.DataFrame) -> list[Figure]:
    """Of the first model, and the curve of all arms."""
    first = table[table.model == table.model.iloc[0]]
    name = first.model.iloc[0]
    plane = plots.figure(height=520)
    for kind, part in unfolded(first, "map").groupby("kind", sort=False):
        plane.add_scatter(
            x=part.x, y=part.y, mode="markers", name=str(kind), text=part.token, marker={"size": 6},
            hovertemplate="%{text}<extra>" + str(kind) + "</extra>",
        )  # fmt: skip
    plane.update_xaxes(title_text="first direction of the circuit")
    plane.update_yaxes(title_text="second direction of the circuit")
    curve = unfolded(first[first.arm.isin(list(CURVES))], "curve")
    capacity = plots.lines_with_band(
        curve, "directions", "identified", "arm", roles=CURVES,
        x_title="leading directions of the circuit kept", y_title="share of the vocabulary identified with margin",
    )  # fmt: skip
    softmax = plots.figure(height=420)
    for arm, role in ((TRAINED, "treatment"), (ONE, "plant"), (SHUFFLED, "control")):
        seen = unfolded(first[first.arm == arm], "seen")
        softmax.add_scatter(
            x=seen.before,
            y=seen.behind,
            mode="markers",
            name=arm,
            marker={"size": 5, "color": plots.ROLES[role], "opacity": 0.6},
        )
    softmax.update_xaxes(title_text="before: runner-up's lead over the mean logit, as a share of the token's", range=[-0.2, 2])
    softmax.update_yaxes(title_text="behind: probability of the token")
    return [
        Figure("plane", plane, f"The 400 commonest tokens of {name} in the two strongest directions of the heads' circuit."),
        Figure("capacity", capacity, f"Identified with margin as weaker directions are taken away: {name} and its controls."),
        Figure("softmax", softmax, "Every dot a place in a repeated string: the heads' logits alone, before and behind the "
               "softmax."),
    ]  # fmt: skip
