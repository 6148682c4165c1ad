"""A study that follows the contract and computes nothing deep; its strings try to break out of a page."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from superscope import plots
from superscope.evidence import stats
from superscope.study import Figure, Findings, Gate, Lab

PROBLEM = "4.7"
TITLE = "A fake study & its <b>title</b>"
QUESTION = "Does a fake effect beat its control? <script>window.broken = 1</script>"
ASSUMPTIONS = ["The noise is Gaussian.", "</script><script>window.broken = 2</script>"]
DISANALOGIES = ["Nothing here is a network; \"quotes\" & 'apostrophes' are."]


@dataclass(frozen=True)
class Config:
    """What can be varied."""

    effect: float = 1.0
    """how large the effect is"""
    seeds: int = 12
    """replicates"""
    densities: tuple[float, ...] = (0.3, 0.1, 0.03, 0.01)
    """the sweep"""
    law: str = "normal"
    gate: bool = True
    """whether the phenomenon exists"""


PRESETS = {"quick": Config(), "standard": Config(seeds=40), "full": Config(seeds=200)}


def run(config: Config, lab: Lab) -> Findings:
    def measure() -> dict[str, list[float]]:
        draw = np.random.default_rng(lab.seed)
        return {"effect": draw.normal(config.effect, 0.2, config.seeds), "control": draw.normal(0, 0.2, config.seeds)}

    data = lab.unit("measured", measure)
    effect, control = stats.estimate(data["effect"]), stats.estimate(data["control"])
    against = {"name": "no effect <i>", "estimate": control, "why": "the same code with the effect switched off"}
    claims = [
        stats.claim("effect", "The effect is at least 0.5 <img src=x onerror=1>.", effect, ">= 0.5", against, config.gate),
        stats.claim("tiny", "The effect is tiny.", effect, "within [-0.1, 0.1]", against, config.gate, note="fixed late"),
        stats.claim("sign", "The effect is not 0.", effect, "excludes 0", against, config.gate),
        stats.claim("edge", "The effect is above 1.", effect, "> 1", against, config.gate),
    ]
    lab.note("a fake note with <angle> brackets")
    table = pd.DataFrame({"density": config.densities, "loss": [0.1 * d for d in config.densities]})
    table["lo"], table["hi"], table["arm"] = table.loss * 0.8, table.loss * 1.2, "treatment"
    grid = np.add.outer(np.arange(6), np.arange(8)) % 3
    angle = np.linspace(0, 2 * np.pi, 6)[:-1]
    W = np.stack([scale * np.stack([np.cos(angle), np.sin(angle)]) for scale in (0.6, 0.9, 1.2)])
    D = np.clip(np.random.default_rng(0).normal(0.5, 0.1, (len(config.densities), 30)), 0, 1)
    figures = {
        "lines": plots.lines_with_band(table, "density", "loss", "arm", "lo", "hi", log_x=True),
        "phases": plots.phase_diagram(grid, np.arange(8), np.arange(6), categories=["none", "one", "<both>"],
                                      curves={"theory": ([0, 7], [0, 5])}),
        "map": plots.phase_diagram(grid / 2.0, np.arange(8), np.arange(6), z_title="loss"),
        "polygon": plots.feature_polygon(W, sweep=[0.1, 0.2, 0.3], sweep_name="density"),
        "strip": plots.dimensionality_strip(D, config.densities),
        "gram": plots.gram_heatmap(W[1].T @ W[1]),
        "null": plots.histogram_with_null(data["effect"], data["control"], observed=1.0, x_title="effect"),
    }  # fmt: skip
    return Findings(
        gate=Gate("The fake phenomenon exists.", config.gate, {"share": 1.0, "nothing": float("nan")}),
        claims=claims,
        figures=[Figure(name, figure, f"A figure called {name} with <em>markup</em>.") for name, figure in figures.items()],
        tables={"losses": table, "many": pd.DataFrame({"x": range(300), "text": ["</script>"] * 300})},
        summary=f"The effect was {effect.value:.2f} against {control.value:.2f}.",
    )
