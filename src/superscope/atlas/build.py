"""Reading what is stored, rendering the pages, writing the site.

The site needs no network and no server: one stylesheet, one script and plotly.js lie beside the pages. The same
findings give the same bytes.
"""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superscope import catalogue, store, studies
from superscope.atlas import view
from superscope.evidence import bridges, findings, records, replication

if TYPE_CHECKING:
    import jinja2


@dataclass
class Site:
    """What `build` made."""

    index: Path
    pages: int = 0
    with_findings: int = 0
    warnings: list[str] = field(default_factory=list)


def build(out: Path | str = "site", runs: Path | str | None = None) -> Site:
    """Write the site under `out` from the newest findings of every problem under `runs` (or the bundled ones).

    Findings that cannot be read become a warning, and their page is made as if there were none.
    """
    out = Path(out)
    site = Site(index=out / "index.html")
    pages = environment()
    order = list(studies.problems().values())
    shown = []
    crossed = [(one.bridge, view.crossing(one)) for one in bridges.crossings(runs)]
    for place, problem in enumerate(order):
        files: dict[str, bytes] = {}
        context: dict[str, Any] = {}
        try:
            folder = records.latest(problem.number, runs)
            if folder is not None:
                context, files = _stored(problem, folder)
        except store.StoreError as error:
            site.warnings.append(f"{problem.number}: {error}")
        neighbours = {"before": order[place - 1] if place else None, "after": order[place + 1 : place + 2]}
        html = pages.get_template("problem.html").render(
            problem=problem,
            built=problem.number in studies.built(),
            family=catalogue.families()[problem.family],
            found=context or None,
            crossings=[row for bridge, row in crossed if problem.number in (bridge.toy[0], bridge.lm[0])],
            **neighbours,
        )
        store.atomic_write_many(out, {**files, f"{problem.number}.html": html.encode()})
        shown.append(view.index_row(problem, context.get("document")))
        site.pages += 1
        site.with_findings += bool(context)
    index = pages.get_template("index.html").render(
        groups=view.groups(shown), counts=view.counts(shown), verdicts=view.VERDICTS, scopes=neuroscope_pages(out)
    )
    counted = Counter(row["verdict"] for _, row in crossed)
    loop = pages.get_template("bridges.html").render(crossings=[row for _, row in crossed], counts=counted)
    store.atomic_write_many(out, {**_assets(), "index.html": index.encode(), "bridges.html": loop.encode()})
    return site


def neuroscope_pages(out: Path) -> list[dict[str, Any]]:
    """The heads of the neuroscope pages that lie in a site's folder, in order of their names."""
    heads = [store.read_json(path) for path in sorted(out.glob("neuroscope/*/neuroscope.json"))]
    return [head for head in heads if (out / head["page"]).exists()]


def environment() -> jinja2.Environment:
    """The templates; everything put into them is escaped."""
    import jinja2

    made = jinja2.Environment(
        loader=jinja2.PackageLoader("superscope.atlas"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["embed"] = view.embed
    return made


def _stored(problem: catalogue.Problem, folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """What the page of a problem shows, and the files it offers for download."""
    import pandas as pd

    document = findings.read(folder)
    figures = [{**row, "json": findings.figure_json(folder, row)} for row in document["figures"]]
    files = {f"data/{problem.number}/{records.FINDINGS}": store.read_bytes(folder / records.FINDINGS)}
    for row in document["tables"]:
        frame = pd.read_parquet(io.BytesIO(store.read_bytes(folder / row["file"], row["sha256"])))
        files[f"data/{problem.number}/{row['name']}.csv"] = frame.to_csv(index=False, lineterminator="\n").encode()
    return view.study(document, figures, replication.read(folder)), files


def _assets() -> dict[str, bytes]:
    from plotly.offline import get_plotlyjs

    static = resources.files("superscope.atlas").joinpath("static")
    files = {f"assets/{name}": static.joinpath(name).read_bytes() for name in ("atlas.css", "atlas.js")}
    return {**files, "assets/plotly.min.js": get_plotlyjs().encode()}
