"""How to cite a page and find it again: BibTeX, and the table of what was taken back."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from superscope.evidence import seal

AUTHORS = "The superscope maintainers"
COLUMNS = ["claim", "was", "why it was taken back"]  # of a study's table of retractions, see `evidence.tables.retractions`
_TEX = {letter: f"\\{letter}" for letter in "{}&%$#_"} | {
    "\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
}  # fmt: skip


def bibtex(document: Mapping[str, Any], page: str) -> str:
    """A BibTeX entry for one recorded finding: its commit and checksum say which numbers are meant."""
    year = str(document["finished"])[:4] or "n.d."
    key = re.sub(r"[^a-z0-9]+", "-", f"superscope-{document['problem']}".lower())
    commit = document["versions"].get("commit", "")
    which = f"{document['preset']} preset, seed {document['seed']}, findings {document['checksum'][:12]}"
    note = f"{which}, commit {commit[:12]}" if commit else which
    title = "".join(_TEX.get(letter, letter) for letter in document["title"])
    lines = [
        f"@misc{{{key},",
        f"  title = {{{{{title}}}}},",
        f"  author = {{{{{AUTHORS}}}}},",
        f"  year = {{{year}}},",
        f"  howpublished = {{superscope atlas, {page}}},",
        f"  note = {{{note}}},",
        "}",
    ]
    return "\n".join(lines)


def retractions(documents: Mapping[str, Mapping[str, Any]], lines: Sequence[seal.Line]) -> list[dict[str, str]]:
    """Every verdict that changed or was taken back, with its reason: from the studies' own tables and from the ledger.

    documents: problem -> findings document.
    """
    out = []
    for problem, document in documents.items():
        for table in document["tables"]:
            if table["name"] == "retractions" and table["columns"] == COLUMNS:
                out += [
                    {"problem": problem, "title": document["title"], "claim": str(claim), "was": str(was), "why": str(why)}
                    for claim, was, why in table.get("rows", [])
                ]
        out += [
            {"problem": problem, "title": document["title"], "claim": name, "was": "withdrawn", "why": reason}
            for name, reason in seal.withdrawn(problem, lines)
        ]
    return out
