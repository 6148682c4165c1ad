"""From findings and catalogue to what the templates print: formatted, grouped, nothing computed anew."""

from __future__ import annotations

import shlex
from collections import Counter
from typing import TYPE_CHECKING, Any

from superscope import catalogue, studies
from superscope.evidence import bridges, replication, seal
from superscope.evidence.wording import show_estimate, show_seconds, show_value

if TYPE_CHECKING:
    import markupsafe

# Symbol and word, so that a verdict is never told by colour alone.
VERDICTS = {"supported": "✓", "refuted": "✗", "undecided": "?", "gate failed": "–"}


def embed(text: str) -> markupsafe.Markup:
    """JSON text, safe inside ``<script type="application/json">``: nothing in it can close the element."""
    import markupsafe

    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return markupsafe.Markup(text)


def chips(document: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Verdicts with their counts, in the order of `VERDICTS`."""
    if document is None:
        return []
    if not document["gate"]["passed"]:
        return [{"verdict": "gate failed", "symbol": VERDICTS["gate failed"], "count": 1}]
    counted = Counter(claim["verdict"] for claim in document["claims"])
    return [{"verdict": name, "symbol": symbol, "count": counted[name]} for name, symbol in VERDICTS.items() if counted[name]]


def study(document: dict[str, Any], figures: list[dict[str, Any]], repeated: dict[str, Any] | None = None) -> dict[str, Any]:
    """The context of a page with findings. repeated: the record of its replication."""
    from superscope.plots import claims_figure

    badges = seal.badges(document, seal.read())
    claims = [
        {
            **claim,
            "symbol": VERDICTS[claim["verdict"]],
            "shown": show_estimate(claim),
            "replicates": replicates(claim["estimate"]),
            "arms": arms(claim),
            "badge": badges[claim["id"]],
            "json": claims_figure([claim]).to_json(),
        }
        for claim in document["claims"]
    ]
    return {
        "document": document,
        "chips": chips(document),
        "measured": [(name, show_value(value)) for name, value in document["gate"]["measured"].items()],
        "claims": claims,
        "figures": figures,
        "tables": [_table(row) for row in document["tables"]],
        "settings": [(name, setting(value), name in document["overrides"]) for name, value in document["config"].items()],
        "provenance": _provenance(document),
        "command": command(document),
        "gate_badge": badges[""],
        "withdrawn": seal.withdrawn(document["problem"], seal.read()),
        "replication": replication.sentence(repeated) if repeated else "",
    }


def arms(claim: dict[str, Any]) -> list[dict[str, str]]:
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


def replicates(estimate: dict[str, Any]) -> str:
    return "exact" if estimate["unit"] == "exact" else f"{estimate['n']} {estimate['unit']}, {estimate['method']}"


def setting(value: Any) -> str:
    return ", ".join(setting(item) for item in value) if isinstance(value, list) else str(value)


def command(document: dict[str, Any]) -> str:
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


def _provenance(document: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [("preset", document["preset"]), ("seed", str(document["seed"])), ("engine", document["engine"])]
    rows += [("wall time", show_seconds(document["seconds"])), ("CPU time", show_seconds(document["cpu_seconds"]))]
    if document["resumed"]:
        rows.append(("resumed", f"{len(document['resumed'])} units from an earlier run, their time is included"))
    rows += [("finished", document["finished"]), *document["versions"].items(), ("checksum", document["checksum"])]
    return [(name, value) for name, value in rows if value]


def index_row(problem: catalogue.Problem, document: dict[str, Any] | None) -> dict[str, Any]:
    """One entry of the index; `state` is what its filter matches."""
    found = chips(document)
    states = [chip["verdict"] for chip in found] or ["not run yet" if problem.number in studies.built() else "not built yet"]
    said = document or {}
    return {"problem": problem, "chips": found, "state": states, "said": said.get("answer") or said.get("summary", "")}


CROSSINGS = {"agree": "✓", "disagree": "✗", "not comparable": "–"}


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


def groups(rows: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    return [
        (heading, [row for row in rows if row["problem"].family == family]) for family, heading in catalogue.families().items()
    ]


def counts(rows: list[dict[str, Any]]) -> dict[str, int]:
    """State -> how many problems have it; the states that occur, verdicts first."""
    counted = Counter(state for row in rows for state in row["state"])
    return {state: counted[state] for state in [*VERDICTS, "not run yet", "not built yet"] if counted[state]}
