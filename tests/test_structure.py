"""The house: imports point one way, nothing goes in circles, nobody uses another's private parts."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[1] / "src"

# From the ground up; a room may use its own floor and those below it. One name may stand for several modules of a floor.
FLOORS = [
    ("errors", "machine", "store", "checkpoint", "checkout", "cluster", "fingerprint", "opened", "catalogue"),
    ("inputs", "lms", "lms.corpus"),
    ("toys", "lms.model", "lms.shelf"),
    ("sweep", "lms.zoo"),
    ("measure.weights",),
    ("measure.activations",),
    ("measure",),
    ("recover",),
    ("evidence", "lms.reading"),
    ("plots",),
    ("lab",),
    ("study",),
    ("studies",),
    ("atlas",),
    ("cli",),
]

FRONT_DOORS = ("superscope", "superscope.__main__", "superscope.lms")  # load what they offer by name, on first use


def module_of(path: Path) -> str:
    parts = path.relative_to(SOURCES).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def graph() -> dict[str, set[str]]:
    """module -> modules of superscope that it imports, wherever in the file: late imports and those for types count too."""
    files = {module_of(path): path for path in sorted(SOURCES.rglob("*.py"))}
    out: dict[str, set[str]] = {}
    for name, path in files.items():
        used = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                used |= {item.name for item in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name}: relative import; write it out"
                for item in node.names:
                    inner = f"{node.module}.{item.name}"
                    used.add(inner if inner in files else str(node.module))
        out[name] = {module for module in used if module in files and module != name}
    return out


def floor_of(module: str) -> int:
    inside = module.removeprefix("superscope").removeprefix(".")
    names = {room: place for place, floor in enumerate(FLOORS) for room in floor}
    fitting = [room for room in names if inside == room or inside.startswith(f"{room}.")]
    assert fitting, f"{module} stands on no floor: give it a place in FLOORS"
    return names[max(fitting, key=len)]


def test_imports_point_down():
    wrong = [
        f"{module} uses {used}"
        for module, uses in graph().items()
        if module not in FRONT_DOORS
        for used in uses
        if used != "superscope" and floor_of(used) > floor_of(module)
    ]
    assert not wrong, "\n".join(wrong)


def test_no_circles():
    """Depth-first; the front doors are left out, since they load everything by name on first use."""
    uses = {module: used - set(FRONT_DOORS) for module, used in graph().items() if module not in FRONT_DOORS}
    state: dict[str, str] = {}

    def visit(module: str, path: list[str]) -> None:
        if state.get(module) == "done":
            return
        assert state.get(module) != "open", " -> ".join([*path[path.index(module) :], module])
        state[module] = "open"
        for used in sorted(uses.get(module, ())):
            visit(used, [*path, module])
        state[module] = "done"

    for module in uses:
        visit(module, [])


def test_only_the_command_line_and_the_site_use_studies():
    for module, uses in graph().items():
        if any(used.startswith("superscope.studies.") for used in uses):
            assert module.startswith(("superscope.studies", "superscope.cli", "superscope.atlas")), module


@pytest.mark.parametrize("path", sorted(SOURCES.rglob("*.py")), ids=module_of)
def test_nobody_imports_private_names_of_another_room(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("superscope"):
            same_room = str(node.module).split(".")[:3] == module_of(path).split(".")[:3]
            private = [item.name for item in node.names if item.name.startswith("_") and not item.name.startswith("__")]
            assert same_room or not private, f"{node.module} {private}"


@pytest.mark.parametrize(
    "study", sorted(path for path in (SOURCES / "superscope" / "studies").glob("p*_*")), ids=lambda p: p.stem
)
def test_no_study_imports_another(study):
    for path in study.rglob("*.py") if study.is_dir() else [study]:
        for used in graph()[module_of(path)]:
            part = used.split(".")
            foreign = (
                part[:2] == ["superscope", "studies"] and len(part) > 2 and part[2].startswith("p") and part[2][1].isdigit()
            )
            assert not foreign or part[2] == study.stem, f"{module_of(path)} uses {used}"
