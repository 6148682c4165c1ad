"""Does a document have the shape that ``findings.schema.json`` says? The part of JSON Schema (2020-12) that it uses."""

from __future__ import annotations

import functools
import json
import re
from importlib import resources
from typing import Any

_KINDS: dict[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "boolean": bool, "null": type(None), "integer": int, "number": (int, float),
}  # fmt: skip
_KNOWN = {
    "$schema", "$defs", "$ref", "title", "description", "format", "type", "const", "enum", "anyOf", "pattern", "minLength",
    "minimum", "required", "properties", "additionalProperties", "items", "prefixItems", "minItems", "maxItems",
}  # fmt: skip


@functools.cache
def findings_schema() -> dict[str, Any]:
    """The schema of ``findings.json``."""
    return dict(json.loads(resources.files("superscope").joinpath("findings.schema.json").read_bytes()))


def fault(value: Any, schema: dict[str, Any] | None = None) -> str:
    """The first place where `value` is not of the schema (by default that of findings), in words; "" when it is."""
    root = findings_schema() if schema is None else schema
    return _fault(value, root, root, "")


def _fault(value: Any, schema: Any, root: dict[str, Any], where: str) -> str:
    if isinstance(schema, bool):
        return "" if schema else f"{where or 'it'} is one too many"
    strange = set(schema) - _KNOWN
    if strange:
        raise NotImplementedError(f"the schema uses {sorted(strange)}")
    here = where or "it"
    if "$ref" in schema:
        inner = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            inner = inner[part]
        if wrong := _fault(value, inner, root, where):
            return wrong
    if "anyOf" in schema and all(_fault(value, one, root, where) for one in schema["anyOf"]):
        return f"{here} is {_short(value)}, which none of its kinds allows"
    if "const" in schema and value != schema["const"]:
        return f"{here} is {_short(value)}, not {schema['const']!r}"
    if "enum" in schema and value not in schema["enum"]:
        return f"{here} is {_short(value)}, not one of {schema['enum']}"
    if "type" in schema and not _is(value, schema["type"]):
        return f"{here} is {_short(value)}, not of type {schema['type']}"
    if isinstance(value, str):
        return _text(value, schema, here)
    if isinstance(value, dict):
        return _object(value, schema, root, where)
    if isinstance(value, list):
        return _array(value, schema, root, where)
    if isinstance(value, (int, float)) and value < schema.get("minimum", value):
        return f"{here} is {value}, below {schema['minimum']}"
    return ""


def _is(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return kind == "boolean"
    return isinstance(value, _KINDS[kind])


def _text(value: str, schema: dict[str, Any], here: str) -> str:
    if len(value) < schema.get("minLength", 0):
        return f"{here} is empty"
    pattern = schema.get("pattern", "")
    if pattern and not re.search(re.sub(r"\$$", r"\\Z", pattern), value):  # "$" would let a last line break through
        return f"{here} is {_short(value)}, which does not match {pattern}"
    return ""


def _object(value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any], where: str) -> str:
    missing = [name for name in schema.get("required", ()) if name not in value]
    if missing:
        return f"{where or 'it'} has no {missing[0]!r}"
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name, part in value.items():
        place = f"{where}.{name}" if where else str(name)
        if name not in known and others is False:
            return f"{place} is no field of findings"
        if wrong := _fault(part, known.get(name, others), root, place):
            return wrong
    return ""


def _array(value: list[Any], schema: dict[str, Any], root: dict[str, Any], where: str) -> str:
    if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
        return f"{where or 'it'} has {len(value)} entries"
    first = schema.get("prefixItems", [])
    for place, part in enumerate(value):
        rule = first[place] if place < len(first) else schema.get("items", True)
        if wrong := _fault(part, rule, root, f"{where}[{place}]"):
            return wrong
    return ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
