"""Text as pages show it: docstrings as paragraphs, a little inline markup, words of the glossary explained where they stand.

Everything is escaped first; only the marks named here become elements.
"""

from __future__ import annotations

import inspect
import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import markupsafe

_CODE = re.compile(r"``([^`]+)``|`([^`]+)`")
_EMPHASIS = re.compile(r"(?<![\w*])\*(\w[^*\n]*\w|\w)\*(?![\w*])")
_RAISED = re.compile(r"&lt;(su[bp])&gt;(.*?)&lt;/\1&gt;")
_POWER = re.compile(r"(?<=[\w)|])\^(\d+|[A-Za-z]|\([^()]{1,12}\)|-\d+)(?!\w)")


@dataclass(frozen=True)
class Term:
    """A word of the glossary. forms: how it is written in text, longest first."""

    key: str
    name: str
    says: str
    forms: tuple[str, ...]


@cache
def glossary() -> dict[str, Term]:
    """Key -> term, in alphabetical order of their names."""
    text = resources.files("superscope.atlas").joinpath("glossary.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)
    terms = [Term(key, row["name"], row["says"], tuple(row.get("forms", [row["name"]]))) for key, row in rows.items()]
    return {term.key: term for term in sorted(terms, key=lambda term: term.name.lower())}


@cache
def _pattern() -> tuple[re.Pattern[str], dict[str, str]]:
    forms = {form.lower(): term.key for term in glossary().values() for form in term.forms}
    words = sorted(map(re.escape, forms), key=len, reverse=True)
    return re.compile(rf"(?<![\w-])({'|'.join(words)})(?:s|es)?(?![\w-])", re.IGNORECASE), forms


def inline(text: str, seen: set[str] | None = None) -> markupsafe.Markup:
    """One run of text: ``code``, *emphasis*, <sup> and x^2; with `seen`, the first use of each glossary word is explained.

    seen: keys of words that the page has explained already; added to.
    """
    import markupsafe

    parts, at = [], 0
    for found in _CODE.finditer(text):
        parts += [_words(text[at : found.start()], seen), f"<code>{markupsafe.escape(found[1] or found[2])}</code>"]
        at = found.end()
    return markupsafe.Markup("".join([*parts, _words(text[at:], seen)]))


def _words(text: str, seen: set[str] | None) -> str:
    import markupsafe

    escaped = str(markupsafe.escape(text))
    escaped = _RAISED.sub(r"<\1>\2</\1>", escaped)
    escaped = _POWER.sub(r"<sup>\1</sup>", escaped)
    escaped = _EMPHASIS.sub(r"<em>\1</em>", escaped)
    return escaped if seen is None else _explained(escaped, seen)


def _explained(escaped: str, seen: set[str]) -> str:
    pattern, forms = _pattern()

    def mark(found: re.Match[str]) -> str:
        import markupsafe

        term = glossary()[forms[found[1].lower()]]
        if term.key in seen:
            return found[0]
        seen.add(term.key)
        says = markupsafe.escape(term.says)
        return f'<a class="term" href="glossary.html#{term.key}" data-says="{says}">{found[0]}</a>'

    return pattern.sub(mark, escaped)


def paragraphs(docstring: str, seen: set[str] | None = None) -> list[tuple[str, list[markupsafe.Markup]]]:
    """Blocks of a docstring: ("p", [text]), ("ul", [item, ...]) or ("pre", [text]) for indented lines."""
    import markupsafe

    out = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(docstring)):
        lines = block.splitlines()
        if all(line.startswith(("    ", "\t")) for line in lines):
            out.append(("pre", [markupsafe.escape("\n".join(line[4:] for line in lines))]))
            continue
        items: list[list[str]] = []
        lead: list[str] = []
        for line in lines:
            if re.match(r"\s*[-*] ", line):
                items.append([re.sub(r"^\s*[-*] ", "", line)])
            elif items:
                items[-1].append(line.strip())
            else:
                lead.append(line.strip())
        if lead:
            out.append(("p", [inline(" ".join(lead), seen)]))
        if items:
            out.append(("ul", [inline(" ".join(item), seen) for item in items]))
    return out
