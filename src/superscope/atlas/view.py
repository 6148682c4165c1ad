"""From findings and catalogue to what the templates print: formatted, grouped, nothing computed anew."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from superscope import catalogue, studies
from superscope.atlas import card, cite, drawings, prose
from superscope.atlas.source import Source
from superscope.evidence import bridges, seal
from superscope.evidence.wording import show_estimate, show_seconds, show_value
from superscope.plots import finish
from superscope.plots.strip import claim_strip

if TYPE_CHECKING:
    import jinja2
    import markupsafe

# Symbol and word, so that a verdict is never told by colour alone.
VERDICTS = {"supported": "✓", "refuted": "✗", "undecided": "?", "gate failed": "–"}
CROSSINGS = {"agree": "✓", "disagree": "✗", "not comparable": "–"}

# Other words that people search by, per family.
SYNONYMS = {
    "reproduction": "TMS Anthropic Elhage toy bottleneck ReLU output",
    "recovery": "SAE dictionary learning latent transcoder APD SPD",
    "toy": "toy bottleneck ReLU",
    "counterexample": "linear representation hypothesis",
    "residual-stream": "LM transformer bottleneck superposition",
    "neuron": "LM transformer MLP polysemantic monosemantic neuroscope",
    "probing": "LM transformer MLP linear probe direction",
    "solu": "LM activation function GELU ReLU monosemantic",
    "removal": "LM wide MLP monosemantic",
    "theory": "compressed sensing statistics TMS",
}


def embed(text: str) -> markupsafe.Markup:
    """JSON text, safe inside ``<script type="application/json">``: nothing in it can close the element."""
    import markupsafe

    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return markupsafe.Markup(text)


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
    made.filters["embed"] = embed
    return made


def chips(document: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Verdicts with their counts, in the order of `VERDICTS`."""
    if document is None:
        return []
    if not document["gate"]["passed"]:
        return [{"verdict": "gate failed", "symbol": VERDICTS["gate failed"], "count": 1}]
    counted = Counter(claim["verdict"] for claim in document["claims"])
    return [{"verdict": name, "symbol": symbol, "count": counted[name]} for name, symbol in VERDICTS.items() if counted[name]]


def study(
    document: Mapping[str, Any],
    figures: Sequence[Mapping[str, Any]],
    lines: Sequence[seal.Line],
    repeated: Mapping[str, Any] | None = None,
    source: Source | None = None,
) -> dict[str, Any]:
    """The context of a page with findings.

    figures: rows of the document with their JSON under "json". lines: the ledger. repeated: the record of its replication.
    source: the code of the study, as it is now.
    """
    import markupsafe

    badges = seal.badges(document, lines)
    seen: set[str] = set()  # words of the glossary that this page has explained, in reading order
    gate = prose.inline(document["gate"]["statement"], seen)
    claims = [_claim(claim, badges[claim["id"]], source, seen) for claim in document["claims"]]
    finished = [_figure(row, seen) for row in figures]
    return {
        "document": document,
        "card": card.of(document, badges, repeated),
        "chips": chips(document),
        "summary": prose.inline(document["summary"]) if document["answer"] and document["gate"]["passed"] else "",
        "gate": gate,
        "gate_badge": badges[""],
        "measured": [(name, show_value(value)) for name, value in document["gate"]["measured"].items()],
        "claims": claims,
        "figures": finished,
        "complete": any(row["complete"] for row in finished),
        "template": finish.template_json(),
        "method": prose.paragraphs(source.method, seen) if source else [],
        "drawing": markupsafe.Markup(drawings.of(document["problem"], document["config"])),
        "assumptions": [prose.inline(text, seen) for text in document["assumptions"]],
        "disanalogies": [prose.inline(text, seen) for text in document["disanalogies"]],
        "tables": [_table(row) for row in document["tables"]],
        "settings": [(name, setting(value), name in document["overrides"]) for name, value in document["config"].items()],
        "provenance": _provenance(document),
        "command": command(document),
        "bibtex": cite.bibtex(document, f"{document['problem']}.html"),
        "withdrawn": [(name, prose.inline(reason)) for name, reason in seal.withdrawn(document["problem"], lines)],
        "source": f"source-{document['problem']}.html" if source else "",
    }


def _claim(claim: Mapping[str, Any], badge: str, source: Source | None, seen: set[str]) -> dict[str, Any]:
    import markupsafe

    return {
        **claim,
        "symbol": VERDICTS[claim["verdict"]],
        "says": prose.inline(claim["statement"], seen),
        "shown": show_estimate(dict(claim)),
        "replicates": replicates(claim["estimate"]),
        "arms": arms(claim),
        "badge": badge,
        "badge_short": card.short_badge(badge),
        "strip": markupsafe.Markup(claim_strip(claim)),
        "code": source.line_of(claim["id"]) if source else "",
        "note_says": prose.inline(claim["note"]),
    }


def arms(claim: Mapping[str, Any]) -> list[dict[str, str]]:
    """The null and the plant of a claim as the page lists them."""
    out = []
    for kind, arm in (("null", claim["null"]), ("plant", claim["plant"])):
        if arm is not None:
            constant = f"Cannot vary: {arm['constant']}." if arm["constant"] else ""
            out.append(
                {"kind": kind, "name": arm["name"], "shown": show_estimate(arm), "replicates": replicates(arm["estimate"]),
                 "why": " ".join(part for part in (arm["why"] if kind == "null" else "", constant) if part)}
            )  # fmt: skip
    return out


def _figure(row: Mapping[str, Any], seen: set[str]) -> dict[str, Any]:
    figure = finish.finish(row["json"])
    return {
        "name": row["name"], "label": row["caption"], "caption": prose.inline(row["caption"], seen), "json": json.dumps(figure),
        "height": finish.height(figure), "complete": finish.needs_all(figure),
    }  # fmt: skip


def replicates(estimate: Mapping[str, Any]) -> str:
    return "exact" if estimate["unit"] == "exact" else f"{estimate['n']} {estimate['unit']}, {estimate['method']}"


def setting(value: Any) -> str:
    return ", ".join(setting(item) for item in value) if isinstance(value, list) else str(value)


def command(document: Mapping[str, Any]) -> str:
    """The command line that repeats this run."""
    words = ["superscope", "run", document["problem"], "--preset", document["preset"]]
    if document["seed"]:
        words += ["--seed", str(document["seed"])]
    for name, value in document["overrides"].items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            words += [f"--{flag}", *(str(item) for item in (value if isinstance(value, list) else [value]))]
    return shlex.join(words)


def _table(row: dict[str, Any]) -> dict[str, Any]:
    body = [[cell if isinstance(cell, str) else _cell(cell) for cell in line] for line in row.get("rows", [])]
    return {**row, "body": body}


def _cell(value: Any) -> str:
    if isinstance(value, float) or value is None:
        return show_value(value)
    return str(value)


def _provenance(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = [("preset", document["preset"]), ("seed", str(document["seed"])), ("engine", document["engine"])]
    rows += [("wall time", show_seconds(document["seconds"])), ("CPU time", show_seconds(document["cpu_seconds"]))]
    if document["resumed"]:
        rows.append(("resumed", f"{len(document['resumed'])} units from an earlier run, their time is included"))
    rows += [("finished", document["finished"]), *document["versions"].items(), ("checksum", document["checksum"])]
    return [(name, value) for name, value in rows if value]


def index_row(problem: catalogue.Problem, found: Mapping[str, Any] | None) -> dict[str, Any]:
    """One entry of the index; `state` is what its filter matches. found: the context of its page."""
    shown = found["chips"] if found else []
    states = [chip["verdict"] for chip in shown]
    if not states:
        built = problem.number in studies.built()
        states = ["no claims" if found else "not run yet" if built else "not built yet"]
    words = f"{SYNONYMS.get(problem.family, '')} {problem.slug.replace('-', ' ')}"
    made = found["card"] if found else None
    title = found["document"]["title"] if found else problem.title
    return {"problem": problem, "title": title, "chips": shown, "state": states, "card": made, "words": words}


def crossing(one: bridges.Crossing) -> dict[str, Any]:
    """A bridge as pages print it."""
    out: dict[str, Any] = {
        "id": f"{one.bridge.toy[0]}-{one.bridge.toy[1]}-{one.bridge.lm[0]}-{one.bridge.lm[1]}", "verdict": one.verdict,
        "symbol": CROSSINGS[one.verdict], "predicts": one.bridge.predicts, "shows": one.bridge.shows, "why": one.bridge.why,
        "why_not": one.why_not,
    }  # fmt: skip
    for side, (study, name), claim in (("toy", one.bridge.toy, one.toy), ("lm", one.bridge.lm, one.lm)):
        out |= {
            f"{side}_study": study, f"{side}_page": f"{study}.html" + (f"#claim-{name}" if claim else ""),
            f"{side}_shown": bridges.shown(claim), f"{side}_verdict": claim["verdict"] if claim else "",
        }  # fmt: skip
    return out


ROW = 26  # pixels from one study to the next on the map


def crossing_map(rows: Sequence[Mapping[str, Any]], titles: Mapping[str, str]) -> dict[str, Any]:
    """Toys on the left, language models on the right, a line for every bridge: places in pixels, columns set by the page."""
    order = list(titles)
    sides: dict[str, dict[str, int]] = {}
    for side in ("toy", "lm"):
        names = sorted({row[f"{side}_study"] for row in rows}, key=order.index)
        sides[side] = {name: place for place, name in enumerate(names)}
    most = max((len(names) for names in sides.values()), default=0)
    at = {
        side: {name: ROW * (place + 0.5) * most / max(len(names), 1) for name, place in names.items()}
        for side, names in sides.items()
    }
    met: Counter[tuple[str, str]] = Counter()
    apart = []  # bridges between the same two studies run beside one another
    for row in rows:
        pair = (row["toy_study"], row["lm_study"])
        apart.append(5 * met[pair])
        met[pair] += 1
    lines = [
        {"from": at["toy"][row["toy_study"]] + off, "to": at["lm"][row["lm_study"]] + off,
         "verdict": row["verdict"], "id": row["id"], "says": f"{row['verdict']}: {row['predicts']} / {row['shows']}"}
        for row, off in zip(rows, apart, strict=True)
    ]  # fmt: skip
    ends = {side: [{"number": name, "title": titles[name], "y": y} for name, y in where.items()] for side, where in at.items()}
    return {"height": ROW * most, "lines": lines, **ends}


def groups(rows: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    return [
        (heading, [row for row in rows if row["problem"].family == family]) for family, heading in catalogue.families().items()
    ]


def counts(rows: list[dict[str, Any]]) -> dict[str, int]:
    """State -> how many problems have it; the states that occur, verdicts first."""
    counted = Counter(state for row in rows for state in row["state"])
    return {state: counted[state] for state in [*VERDICTS, "no claims", "not run yet", "not built yet"] if counted[state]}
