"""Reading what is stored, rendering the pages, writing the site.

The site needs no network and no server: styles, scripts and plotly.js lie beside the pages. The same findings give the
same bytes.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from superscope import catalogue, store, studies
from superscope.atlas import cite, playground, prose, reference, source, view
from superscope.evidence import bridges, findings, records, replication, seal

STATIC = ("atlas.css", "atlas.js", "figures.js")
OTHERS = 5  # further runs of one's own that get a page


@dataclass
class Site:
    """What `build` made."""

    index: Path
    pages: int = 0
    with_findings: int = 0
    warnings: list[str] = field(default_factory=list)


@dataclass
class _Run:
    """One run read for its page: the context of the template, and the files it offers for download."""

    context: dict[str, Any]
    files: dict[str, bytes]


def build(out: Path | str = "site", runs: Path | str | None = None) -> Site:
    """Write the site under `out`: for every problem the findings that speak for it (see `records.most_telling`), and the newest
    other runs under `runs` on pages of their own.

    Findings that cannot be read become a warning, and their page is made as if there were none.
    """
    return _Builder(Path(out), runs).build()


class _Builder:
    """One build of the site: what is read once, and the pages made from it."""

    def __init__(self, out: Path, runs: Path | str | None) -> None:
        self.out, self.runs = out, runs
        self.site = Site(index=out / "index.html")
        self.pages = view.environment()
        self.problems = studies.problems()
        self.modules = studies.modules()
        self.ledger = seal.read()
        self.crossings = [(one.bridge, view.crossing(one)) for one in bridges.crossings(runs)]
        self.own_pages: set[str] = set()
        self.complete = False  # has a page a figure that only the complete bundle draws?

    def build(self) -> Site:
        order = list(self.problems.values())
        shown, documents = [], {}
        for place, problem in enumerate(order):
            found, others = self._found(problem)
            neighbours = {"before": order[place - 1] if place else None, "after": order[place + 1 : place + 2]}
            self._page(problem, found, others, neighbours)
            shown.append(view.index_row(problem, found.context if found else None))
            if found:
                documents[problem.number] = found.context["document"]
            self.site.pages += 1
            self.site.with_findings += found is not None
        self._write_indices(shown, documents)
        for number in self.problems:  # pages of runs that are gone
            for preset in records.PRESETS:
                for page in self.out.glob(f"{number}-{preset}-*.html"):
                    if page.name not in self.own_pages:
                        page.unlink()
        return self.site

    def _found(self, problem: catalogue.Problem) -> tuple[_Run | None, list[dict[str, Any]]]:
        """What speaks for a problem, and the reader's other runs of it."""
        try:
            folder = records.most_telling(problem.number, self.runs)
            own = [one for one in records.own_runs(problem.number, self.runs) if one != folder]
        except store.StoreError as error:
            self.site.warnings.append(f"{problem.number}: {error}")
            return None, []
        return self._read(problem, folder), self._others(problem, own)

    def _read(self, problem: catalogue.Problem, folder: Path | None) -> _Run | None:
        import pandas as pd

        if folder is None:
            return None
        try:
            document = findings.read(folder)
            figures = [{**row, "json": findings.figure_json(folder, row)} for row in document["figures"]]
            place = f"data/{problem.number}"
            files = {f"{place}/{records.FINDINGS}": store.read_bytes(folder / records.FINDINGS)}
            for row in document["tables"]:
                frame = pd.read_parquet(io.BytesIO(store.read_bytes(folder / row["file"], row["sha256"])))
                files[f"{place}/{row['name']}.csv"] = frame.to_csv(index=False, lineterminator="\n").encode()
            repeated = replication.read(folder)
        except store.StoreError as error:
            self.site.warnings.append(f"{problem.number}: {error}")
            return None
        try:
            return self._rendered(problem, document, figures, files, repeated)
        except (ValueError, TypeError, KeyError, ArithmeticError) as error:  # whole, and yet nothing a page can be made of
            self.site.warnings.append(
                f"{problem.number}: no page can be made of {folder.name} ({type(error).__name__}: {error})"
            )
            return None

    def _rendered(
        self,
        problem: catalogue.Problem,
        document: dict[str, Any],
        figures: list[dict[str, Any]],
        files: dict[str, bytes],
        repeated: dict[str, Any] | None,
    ) -> _Run:
        code = source.of(f"superscope.studies.{self.modules[problem.number]}") if problem.number in self.modules else None
        context = view.study(document, figures, self.ledger, repeated, code)
        if code is not None:
            html = self.pages.get_template("source.html").render(problem=problem, title=document["title"], source=code)
            files[f"source-{problem.number}.html"] = html.encode()
        self.complete = self.complete or context["complete"]
        return _Run(context, files)

    def _others(self, problem: catalogue.Problem, folders: list[Path]) -> list[dict[str, Any]]:
        """The reader's newest other runs of a problem, each on a page of its own."""
        out: list[dict[str, Any]] = []
        for folder in folders[:OTHERS]:
            if (one := self._read(problem, folder)) is None:
                continue
            name = f"{problem.number}-{folder.name}.html"
            context = {**one.context, "downloads": False, "bibtex": cite.bibtex(one.context["document"], name)}
            html = self._render(problem, context, [], {"before": None, "after": []}, f"{problem.number}.html")
            store.atomic_write_many(self.out, {name: html.encode()})
            self.own_pages.add(name)
            out.append({"page": name, "document": one.context["document"], "chips": one.context["chips"]})
        return out

    def _page(
        self, problem: catalogue.Problem, found: _Run | None, others: list[dict[str, Any]], neighbours: Mapping[str, Any]
    ) -> None:
        context = {**found.context, "downloads": True} if found else None
        html = self._render(problem, context, others, neighbours)
        store.atomic_write_many(self.out, {**(found.files if found else {}), f"{problem.number}.html": html.encode()})

    def _render(
        self,
        problem: catalogue.Problem,
        context: Mapping[str, Any] | None,
        others: list[dict[str, Any]],
        neighbours: Mapping[str, Any],
        recorded: str = "",
    ) -> str:
        related = [(self.problems[number], reason) for number, reason in catalogue.related(problem.number)]
        return self.pages.get_template("problem.html").render(
            problem=problem,
            built=problem.number in self.modules,
            family=catalogue.families()[problem.family],
            found=context,
            others=others,
            recorded=recorded,
            related=related,
            crossings=[row for bridge, row in self.crossings if problem.number in (bridge.toy[0], bridge.lm[0])],
            **neighbours,
        )

    def _write_indices(self, shown: list[dict[str, Any]], documents: Mapping[str, Mapping[str, Any]]) -> None:
        rows = [row for _, row in self.crossings]
        counted = Counter(row["verdict"] for row in rows)
        titles = {number: problem.title for number, problem in self.problems.items()}
        taken_back = cite.retractions(documents, self.ledger)
        pages: dict[str, dict[str, Any]] = {
            "index.html": {
                "groups": view.groups(shown), "counts": view.counts(shown), "verdicts": view.VERDICTS,
                "scopes": neuroscope_pages(self.out), "map": view.crossing_map(rows, titles), "crossed": counted,
            },
            "bridges.html": {"crossings": rows, "counts": counted, "map": view.crossing_map(rows, titles)},
            "glossary.html": {"terms": list(prose.glossary().values())},
            "retractions.html": {"rows": taken_back},
            "reference.html": {"doors": reference.doors()},
        }  # fmt: skip
        files = {name: self.pages.get_template(name).render(**context).encode() for name, context in pages.items()}
        store.atomic_write_many(self.out, {**_assets(self.complete), **playground.files(), **files})


def neuroscope_pages(out: Path) -> list[dict[str, Any]]:
    """The heads of the neuroscope pages that lie in a site's folder, in order of their names; what is no head is left out."""
    needed = {"page": str, "model": str, "title": str, "units": int, "kind": str, "tokens": int, "corpus": str}
    heads = []
    for path in sorted(out.glob("neuroscope/*/neuroscope.json")):
        try:
            head = store.read_json(path)
        except store.StoreError:
            continue
        whole = isinstance(head, dict) and all(isinstance(head.get(name), kind) for name, kind in needed.items())
        if whole and re.fullmatch(r"[\w.-]+\.html", head["page"]) and (out / head["page"]).exists():
            heads.append(head)
    return heads


def _assets(complete: bool) -> dict[str, bytes]:
    """Styles, scripts and the part of plotly.js that draws in two dimensions; the complete one only where a page needs it."""
    static = resources.files("superscope.atlas").joinpath("static")
    files = {f"assets/{name}": static.joinpath(name).read_bytes() for name in STATIC}
    files["assets/plotly-cartesian.min.js"] = static.joinpath("plotly-cartesian.min.js").read_bytes()
    if complete:
        from plotly.offline import get_plotlyjs

        files["assets/plotly.min.js"] = get_plotlyjs().encode()
    return files
