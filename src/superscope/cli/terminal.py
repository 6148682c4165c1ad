"""What the command line shows: the catalogue and a run's findings as rich tables. No science happens here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from superscope import catalogue
from superscope.cli.doctor import Check
from superscope.evidence import bridges, records, replication, seal
from superscope.evidence.wording import show_estimate, show_seconds, show_value

MARKS = {"supported": "[green]✓ supported[/]", "refuted": "[red]✗ refuted[/]",
         "undecided": "[yellow]? undecided[/]", "gate failed": "[dim]– gate failed[/]"}  # fmt: skip


def print_findings(console: Console, document: dict[str, Any], folder: Path, repeated: dict[str, Any] | None = None) -> None:
    """Answer, verdicts with their three arms and badges, and where the findings lie. repeated: the record of replication."""
    console.print(f"[bold]{document['problem']}  {escape(document['title'])}[/]")
    console.print(escape(document["question"]), style="italic")
    if document["answer"] and document["gate"]["passed"]:
        console.print(f"\n[bold]{escape(document['answer'])}[/]")
    gate = document["gate"]
    measured = ", ".join(f"{key} {show_value(value)}" for key, value in gate["measured"].items())
    state = "[green]passed[/]" if gate["passed"] else "[red]failed[/]"
    measured = f" [dim]({escape(measured)})[/]" if measured else ""
    badges = seal.badges(document, seal.read())
    console.print(f"\nGate {state}: {escape(gate['statement'])}{measured} [dim]{escape(badges[''])}[/]")
    for condition in gate["failed"]:
        console.print(f"  not met: {escape(condition)}")
    for claim in document["claims"]:
        _print_claim(console, claim, badges[claim["id"]])
    if document["summary"]:
        console.print(f"\n{escape(document['summary'])}")
    if repeated:
        console.print(escape(replication.sentence(repeated)))
    cost = f"{show_seconds(document['seconds'])} wall, {show_seconds(document['cpu_seconds'])} CPU"
    console.print(f"\n[bold]{document['verdict']}[/]  ({document['preset']}, seed {document['seed']}, {cost})")
    console.print(f"Findings: {escape(str(folder / records.FINDINGS))}", soft_wrap=True)
    console.print(f"Page:     superscope atlas, then open site/{document['problem']}.html")


def _print_claim(console: Console, claim: dict[str, Any], badge: str) -> None:
    """A claim in a few lines: verdict and statement, then rule, measured, null and plant below one another."""
    console.print(f"\n{MARKS[claim['verdict']]}  {escape(claim['statement'])}")
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    measured = f"[bold]{show_estimate(claim)}[/]  [dim]{claim['estimate']['n']} {escape(claim['estimate']['unit'])}[/]"
    table.add_row("  measured", measured)
    table.add_row("  rule", f"{escape(claim['rule']['text'])}  [dim]{escape(badge)}[/]")
    for kind in ("null", "plant"):
        arm = claim[kind]
        table.add_row(f"  {kind}", f"{show_estimate(arm)}  [dim]{escape(arm['name'])}[/]" if arm else "[dim]none: weaker[/]")
    for one in claim["power"]:
        table.add_row("  power", f"{escape(one['effect'])}: found in {one['found']} of {one['of']}")
    if claim["verdict"] in ("refuted", "undecided"):
        table.add_row("  why", escape(claim["reason"]))
    console.print(table)


def print_checks(console: Console, checks: list[Check]) -> None:
    marks = {"ok": "[green]✓[/]", "optional": "[yellow]○[/]", "missing": "[red]✗[/]"}
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for check in checks:
        table.add_row(marks[check.state], check.name, escape(check.detail))
    console.print(table)


def print_bridges(console: Console, found: list[bridges.Crossing]) -> None:
    """One row a bridge: verdict, the toy's half and the model's half with their numbers."""
    marks = {"agree": "[green]✓ agree[/]", "disagree": "[red]✗ disagree[/]", "not comparable": "[dim]– not comparable[/]"}
    table = Table(box=None, padding=(0, 2, 1, 0), header_style="dim")
    for heading in ("", "the toy predicts", "the language model"):
        table.add_column(heading, no_wrap=not heading)
    for one in found:
        halves = []
        for words, (study, _), claim in (
            (one.bridge.predicts, one.bridge.toy, one.toy),
            (one.bridge.shows, one.bridge.lm, one.lm),
        ):
            said = f"{bridges.shown(claim)}, {claim['verdict']}" if claim else "not recorded"
            halves.append(f"{escape(words)} [dim]({study}: {escape(said)})[/]")
        table.add_row(marks[one.verdict], *halves)
    console.print(table)


def print_problems(console: Console, rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("problem", "level", "title", "last verdict"):
        table.add_column(heading, no_wrap=heading != "title")
    family = None
    for row in rows:
        if row["family"] != family:
            family = row["family"]
            table.add_row("", "", f"\n[bold]{escape(catalogue.families()[family])}[/]", "")
        verdict = row["verdict"] or ("[dim]not run yet[/]" if row["built"] else "[dim]not built yet[/]")
        title = escape(row["title"]) if row["built"] else f"[dim]{escape(row['title'])}[/]"
        table.add_row(row["number"], row["difficulty"], title, verdict)
    console.print(table)
    built = sum(row["built"] for row in rows)
    console.print(f"\n{built} of {len(rows)} built. Run one: [bold]superscope run {_example(rows)}[/]")


def _example(rows: list[dict[str, Any]]) -> str:
    return next((row["number"] for row in rows if row["built"]), "4.7")
