"""The code of a study as pages show it: its method, its files with a name for every line, and the line of each claim."""

from __future__ import annotations

import ast
import importlib.util
import io
import keyword
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path


@dataclass(frozen=True)
class File:
    """One file of a study. name: its path below ``superscope/studies``."""

    name: str
    text: str

    @property
    def anchor(self) -> str:
        return self.name.removesuffix(".py").replace("/", "-")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    def lines(self) -> list[str]:
        """The lines as escaped HTML, comments, strings and keywords in spans."""
        return _coloured(self.text)


@dataclass(frozen=True)
class Source:
    """All files of a study, the main one first."""

    files: tuple[File, ...]

    @property
    def method(self) -> str:
        """The main module's docstring without its title line."""
        text = ast.get_docstring(self.files[0].tree) or ""
        title, _, rest = text.partition("\n\n")
        return rest or title

    def line_of(self, claim: str) -> str:
        """Anchor of the line where a claim's row is written down; of the list of rows where it is made by a loop."""
        for file, node in self._calls():
            if node.args and isinstance(node.args[0], ast.Constant) and node.args[0].value == claim:
                return f"{file.anchor}-L{node.lineno}"
        for file in self.files:
            for assigned in (one for one in ast.walk(file.tree) if isinstance(one, ast.Assign)):
                if any(isinstance(target, ast.Name) and target.id in ("EXPECTED", "ROWS") for target in assigned.targets):
                    return f"{file.anchor}-L{assigned.lineno}"
        return f"{self.files[0].anchor}-L1"

    def _calls(self) -> Iterator[tuple[File, ast.Call]]:
        for file in self.files:
            for node in ast.walk(file.tree):
                if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in (
                    "Expect",
                    "claim",
                ):
                    yield file, node


def of(module: str) -> Source | None:
    """The files of the study in module `module` ("superscope.studies.tms"), or None where they are not kept as text."""
    found = importlib.util.find_spec(module)
    if found is None or found.origin is None:
        return None
    main = Path(found.origin)
    rest = sorted(path for path in main.parent.glob("*.py") if path != main) if main.name == "__init__.py" else []
    root = main.parents[1] if main.name == "__init__.py" else main.parent
    return Source(tuple(File(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")) for path in (main, *rest)))


def _coloured(text: str) -> list[str]:
    lines = text.removesuffix("\n").split("\n")  # as Python counts them: a form feed ends none
    marks: list[list[tuple[int, int, str]]] = [[] for _ in lines]
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        kind = _kind(token)
        if not kind:
            continue
        (first, start), (last, end) = token.start, token.end
        for row in range(first, last + 1):
            line = lines[row - 1]
            marks[row - 1].append((start if row == first else 0, end if row == last else len(line), kind))
    return [_line(line, spans) for line, spans in zip(lines, marks, strict=True)]


def _kind(token: tokenize.TokenInfo) -> str:
    if token.type == tokenize.COMMENT:
        return "com"
    if token.type == tokenize.STRING or tokenize.tok_name[token.type].startswith("FSTRING"):
        return "str"
    return "kw" if token.type == tokenize.NAME and keyword.iskeyword(token.string) else ""


def _line(line: str, spans: list[tuple[int, int, str]]) -> str:
    out, at = [], 0
    for start, end, kind in spans:
        out += [escape(line[at:start]), f'<span class="{kind}">{escape(line[start:end])}</span>']
        at = max(at, end)
    return "".join([*out, escape(line[at:])])
