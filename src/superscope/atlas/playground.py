"""The playground: a page in which a reader trains the ReLU output model of TMS, beside what the engine finds.

    files()                       # {path: bytes}, a page and its assets, for the site's builder
    python -m superscope.atlas.playground    # makes the engine's losses again (about a quarter of an hour on one core)

Nothing is trained when the site is built: the engine's best losses are stored beside this module, in playground.json. The page
trains by the engine's recipe on points of the same law (static/playground.js).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

from superscope import store
from superscope.atlas import view
from superscope.atlas.view import environment

if TYPE_CHECKING:
    from superscope.inputs.features import SparseFeatures

FEATURES = (2, 8)  # fewest and most
HIDDEN = (2, 3)
DENSITIES = (1.0, 0.5, 0.3, 0.2, 0.1, 0.05, 0.03, 0.02, 0.01)
DECAYS = (1.0, 0.8, 0.5)  # importance of feature i is decay^i, i from 0
VALUES = {"uniform": (0.0, 1.0), "high": (0.5, 1.0), "one": (1.0, 1.0)}  # low and high; equal: that constant
STARTS = 64
TABLE = "playground.json"


def inputs(n: int, density: float, decay: float, values: str) -> SparseFeatures:
    """The inputs of a setting of the page."""
    from superscope.inputs.features import Constant, SparseFeatures, Uniform

    low, high = VALUES[values]
    law = Constant(low) if low == high else Uniform(low, high)
    return SparseFeatures(n=n, density=density, values=law, importance=tuple(decay**i for i in range(n)))


def best(
    n: int, m: int, decay: float, values: str, densities: Sequence[float] = DENSITIES, starts: int = STARTS
) -> list[float]:
    """Per density the lowest loss of `starts` trainings by the default recipe.

    L = E_x sum_i I_i (x_i - y_i)^2, exact up to the noise of the engine's evaluation points.
    """
    from superscope.sweep.sweep import Sweep
    from superscope.toys import Bottleneck

    toy = Bottleneck(n_features=n, n_hidden=m)
    run = Sweep(toy, inputs(n, 0.5, decay, values), over={"density": list(densities)}, seeds=starts).train(workers=1)
    return [float(loss) for loss in run.loss.min("seed")]


def settings() -> list[dict[str, Any]]:
    """What the stored table has a row for: every setting but those with room for all features, whose loss is 0."""
    low, high = FEATURES
    grid = itertools.product(range(low, high + 1), HIDDEN, DECAYS, VALUES)
    return [{"n": n, "m": m, "decay": decay, "values": values} for n, m, decay, values in grid if n > m]


def table() -> dict[str, Any]:
    """The stored losses: made (how), densities, rows with n, m, decay, values, loss (one per density)."""
    found: dict[str, Any] = json.loads(resources.files("superscope.atlas").joinpath(TABLE).read_bytes())
    return found


def files() -> dict[str, bytes]:
    """The page and what it loads, by path under the site's folder (the atlas's own assets are the builder's)."""
    from superscope.sweep.recipe import Recipe

    static = resources.files("superscope.atlas").joinpath("static")
    engine = Recipe.fast()
    known = {
        "features": FEATURES, "hidden": HIDDEN, "densities": DENSITIES, "decays": DECAYS, "values": VALUES, "starts": STARTS,
        "recipe": {name: getattr(engine, name) for name in ("steps", "lr", "beta1", "beta2", "eps")},
    }  # fmt: skip
    page = environment().get_template("playground.html").render(known)
    data = json.dumps({**known, "rows": table()["rows"]}, separators=(",", ":"))
    return {
        "playground.html": page.encode(),
        "assets/playground-data.js": f"window.playgroundData = {view.embed(data)};\n".encode(),
        **{f"assets/{name}": static.joinpath(name).read_bytes() for name in ("playground.js", "playground.css")},
    }


def main() -> None:
    """Train the table's settings and write it beside this module."""
    from pathlib import Path

    from superscope import __version__

    rows = []
    for one in settings():
        rows.append({**one, "loss": [float(f"{loss:.5g}") for loss in best(**one)]})
        print(len(rows), one, flush=True)
    made = {
        "by": "python -m superscope.atlas.playground", "superscope": __version__, "starts": STARTS, "recipe": "Recipe.fast()",
        "loss": "E_x sum_i I_i (x_i - y_i)^2, the lowest of the starts",
    }  # fmt: skip
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    text = f'{{"made":{json.dumps(made)},\n"densities":{json.dumps(list(DENSITIES))},\n"rows":[\n{lines}\n]}}\n'
    store.atomic_write_many(Path(__file__).parent, {TABLE: text.encode()})


if __name__ == "__main__":
    main()
