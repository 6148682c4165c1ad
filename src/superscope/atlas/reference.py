"""The API reference: signatures and docstrings of the public names, read from the sources without importing them."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superscope.atlas import prose

if TYPE_CHECKING:
    import markupsafe

ROOT = Path(__file__).parents[2]

# Front door -> what it is for. Its public names are those of its `__all__`, in order.
DOORS = {
    "superscope": "toys, their inputs, and sweeps over thousands of them",
    "superscope.measure": "numbers about superposition, of weights",
    "superscope.recover": "taking features out of superposition",
    "superscope.recover.sae": "sparse autoencoders",
    "superscope.lms": "language models, their text and their activations",
    "superscope.plots": "figures from measured tables",
    "superscope.evidence.expect": "what a study expects, sealed before its numbers",
    "superscope.evidence.claim": "claims with three arms, and their verdicts",
    "superscope.evidence.estimate": "estimates with their intervals",
    "superscope.lab": "what a study may use of the world",
    "superscope.study": "the contract of a study",
}


@dataclass(frozen=True)
class Entry:
    """One public name. methods: of a class."""

    name: str
    kind: str
    signature: str
    docs: list[tuple[str, list[markupsafe.Markup]]]
    module: str
    methods: list[Entry] = field(default_factory=list)


@dataclass(frozen=True)
class Door:
    """One place to import from."""

    name: str
    about: str
    entries: list[Entry]


def doors() -> list[Door]:
    """All front doors with what they offer. A name without a docstring is left out of none: it shows that it has none."""
    return [Door(name, about, list(_entries(name))) for name, about in DOORS.items()]


def _entries(door: str) -> Iterator[Entry]:
    for name in _public(door):
        found = _resolve(door, name)
        if found is not None:
            module, node = found
            yield _entry(name, node, module)


@cache
def _tree(module: str) -> ast.Module | None:
    place = ROOT.joinpath(*module.split("."))
    for path in (place / "__init__.py", place.with_suffix(".py")):
        if path.is_file():
            return ast.parse(path.read_text(encoding="utf-8"))
    return None


def _assigned(tree: ast.Module, name: str) -> ast.expr | None:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            value: ast.expr | None = node.value  # type: ignore[attr-defined]
            return value
    return None


def _lazy(tree: ast.Module) -> dict[str, str]:
    """Public name -> module below the package, for packages that load what they offer on first use."""
    node = _assigned(tree, "_PUBLIC")
    return ast.literal_eval(node) if node is not None else {}


def _public(module: str) -> Sequence[str]:
    tree = _tree(module)
    if tree is None:
        return []
    if lazy := _lazy(tree):
        return list(lazy)
    node = _assigned(tree, "__all__")
    if isinstance(node, ast.List):
        return [str(ast.literal_eval(item)) for item in node.elts if isinstance(item, ast.Constant)]
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [node.name for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]


def _resolve(module: str, name: str) -> tuple[str, Any] | None:
    """(module, node) where a name is defined, following re-exports; None for constants and modules."""
    tree = _tree(module)
    if tree is None:
        return None
    if name in (lazy := _lazy(tree)):
        return _resolve(f"{module}.{lazy[name]}", name)
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
            return module, node
        if isinstance(node, ast.ImportFrom) and node.module:
            for item in node.names:
                if (item.asname or item.name) == name:
                    return _resolve(node.module, item.name)
    return None


def _entry(name: str, node: Any, module: str) -> Entry:
    docs = prose.paragraphs(ast.get_docstring(node) or "No description.")
    if isinstance(node, ast.ClassDef):
        methods = [
            _entry(one.name, one, module)
            for one in node.body
            if isinstance(one, ast.FunctionDef) and not one.name.startswith("_")
        ]
        return Entry(name, "class", f"{name}({_fields(node)})", docs, module, methods)
    kind = (
        "property" if any(getattr(d, "id", "") in ("property", "cached_property") for d in node.decorator_list) else "function"
    )
    back = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    signature = name if kind == "property" else f"{name}({_arguments(node)})"
    return Entry(name, kind, signature + back, docs, module)


def _arguments(node: ast.FunctionDef) -> str:
    args = node.args
    args.args = [one for one in args.args if one.arg not in ("self", "cls")]
    return ast.unparse(args)


def _fields(node: ast.ClassDef) -> str:
    for one in node.body:
        if isinstance(one, ast.FunctionDef) and one.name == "__init__":
            return _arguments(one)
    public = [one for one in node.body if isinstance(one, ast.AnnAssign) and not ast.unparse(one.target).startswith("_")]
    return ", ".join(
        f"{ast.unparse(one.target)}: {ast.unparse(one.annotation)}" + (f" = {ast.unparse(one.value)}" if one.value else "")
        for one in public
    )
