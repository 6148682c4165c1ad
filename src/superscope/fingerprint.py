"""Digests of code: stored work is used again only while the function that made it is what it was.

`of(function)` covers its byte code, defaults and closure, everything of the user's own (or of a study's) code that it
reaches by name, and the sources of superscope's computing rooms as a whole. A changed comment changes nothing; a changed
body, constant or helper does.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib.util
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

# Whose sources are digested as a whole: methods are called on objects, so names alone do not tell which code runs.
ROOMS = ("inputs", "toys", "sweep", "lms", "measure", "recover", "evidence", "store.py", "lab.py")


def of(function: Callable[..., Any]) -> str:
    """Hex digest of a function (or `functools.partial`, method, class) and of the project's code that it reaches."""
    state = hashlib.sha256(f"{sys.version_info[:2]} {library()}".encode())
    _add(function, state, set())
    return state.hexdigest()


@functools.cache
def library() -> str:
    """Digest of the sources of superscope's computing rooms."""
    root = Path(__file__).parent
    state = hashlib.sha256()
    for room in ROOMS:
        place = root / room
        for path in sorted(place.rglob("*")) if place.is_dir() else [place]:
            if path.suffix in (".py", ".c"):
                state.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return state.hexdigest()


def _add(value: Any, state: Any, seen: set[int]) -> None:
    """Feed a value to the digest, following what is the project's own."""
    if isinstance(value, functools.partial):
        for part in (value.func, value.args, sorted(value.keywords.items())):
            _add(part, state, seen)
    elif isinstance(value, types.MethodType):
        _add(value.__func__, state, seen)
        _add(value.__self__, state, seen)
    elif isinstance(value, types.FunctionType):
        _function(value, state, seen)
    elif hasattr(value, "__wrapped__"):  # functools.cache and the like
        _add(value.__wrapped__, state, seen)
    elif isinstance(value, type):
        _class(value, state, seen)
    elif hasattr(value, "__fingerprint__"):  # says itself what it depends on
        state.update(type(value).__name__.encode())
        _add(value.__fingerprint__(), state, seen)
    elif isinstance(value, (dict, list)) and id(value) in seen:  # it holds itself
        state.update(b"seen")
    elif isinstance(value, dict):
        seen.add(id(value))
        for item in value.items():
            _add(item, state, seen)
        seen.discard(id(value))
    elif isinstance(value, (list, tuple, set, frozenset)):
        state.update(f"{type(value).__name__} {len(value)}".encode())
        for item in sorted(value, key=repr) if isinstance(value, (set, frozenset)) else value:
            _add(item, state, seen)
    elif isinstance(value, np.ndarray):
        state.update(f"{value.shape} {value.dtype}".encode() + np.ascontiguousarray(value).tobytes())
    elif dataclasses.is_dataclass(value):
        _class(type(value), state, seen)
        for each in dataclasses.fields(value):
            _add(getattr(value, each.name), state, seen)
    elif type(value).__module__.startswith("pandas"):
        import pandas as pd

        state.update(repr(list(getattr(value, "columns", ()))).encode())
        state.update(pd.util.hash_pandas_object(value).to_numpy().tobytes())
    elif type(value).__module__.startswith("xarray"):
        _add(value.to_dict(data="array"), state, seen)
    elif hasattr(value, "detach"):  # a torch tensor
        _add(value.detach().cpu().numpy(), state, seen)
    elif isinstance(value, (str, bytes, int, float, complex, bool, type(None), range, Path)):
        state.update(repr(value).encode())
    elif isinstance(value, (types.BuiltinFunctionType, np.ufunc, np.generic, np.dtype, slice)):
        state.update(f"{getattr(value, '__module__', '')}{value!r}".encode())
    else:  # an object of some class: its class stands for it, with what it holds and how it shows itself
        _class(type(value), state, seen)
        if id(value) in seen:
            return
        seen.add(id(value))
        if " at 0x" not in (shown := repr(value)):
            state.update(shown.encode())
        slots = [name for kind in type(value).__mro__ for name in getattr(kind, "__slots__", ())]
        held = dict(getattr(value, "__dict__", {})) | {name: getattr(value, name) for name in slots if hasattr(value, name)}
        for item in sorted(held.items(), key=lambda pair: pair[0]):
            _add(item, state, seen)


def _function(function: types.FunctionType, state: Any, seen: set[int]) -> None:
    if id(function) in seen:
        return
    seen.add(id(function))
    state.update(f"{function.__module__}.{function.__qualname__}".encode())
    if not _own(function.__module__):
        return
    _code(function.__code__, state)
    _add(function.__defaults__, state, seen)
    _add(function.__kwdefaults__, state, seen)
    names = {name for code in _nested(function.__code__) for name in code.co_names}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            _reached(name, cell.cell_contents, names, state, seen)
        except ValueError:  # not filled yet: a function that refers to itself
            continue
    for name in sorted(names & set(function.__globals__)):
        _reached(name, function.__globals__[name], names, state, seen)
    for name in sorted(names & set(sys.modules)):  # imported inside the function
        if name not in function.__globals__ and _own(name):
            _reached(name, sys.modules[name], names, state, seen)


def _reached(name: str, value: Any, names: set[str], state: Any, seen: set[int]) -> None:
    """A global of an own function: modules are entered through the names that the function mentions."""
    state.update(name.encode())
    if not isinstance(value, types.ModuleType):
        _add(value, state, seen)
    elif _own(value.__name__):
        for inner in sorted(names & set(vars(value))):
            part = vars(value)[inner]
            if not isinstance(part, types.ModuleType):
                _add(part, state, seen)
            elif id(part) not in seen:
                seen.add(id(part))
                _reached(inner, part, names, state, seen)


def _class(kind: type, state: Any, seen: set[int]) -> None:
    if id(kind) in seen:
        return
    seen.add(id(kind))
    state.update(f"{kind.__module__}.{kind.__qualname__}".encode())
    if not _own(kind.__module__):
        return
    for base in kind.__bases__:
        _class(base, state, seen)
    for name, value in sorted(vars(kind).items()):
        raw = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
        raw = raw.fget if isinstance(raw, property) else getattr(raw, "func", raw)  # and functools.cached_property
        if isinstance(raw, types.FunctionType) or not (name.startswith("__") or isinstance(raw, (types.MemberDescriptorType,))):
            state.update(name.encode())
            _add(raw, state, seen)


def _code(code: types.CodeType, state: Any) -> None:
    state.update(code.co_code)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            _code(constant, state)
        elif isinstance(constant, frozenset):
            state.update(repr(sorted(constant, key=repr)).encode())
        else:
            state.update(repr(constant).encode())
    state.update(repr((code.co_names, code.co_varnames)).encode())


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _nested(constant)


@functools.cache
def _own(module: str | None) -> bool:
    """Is this a study's or the user's own code: neither installed, nor Python's, nor a room that `library` covers?"""
    if module is None:
        return False
    parts = module.split(".")
    if parts[0] == "superscope":
        return len(parts) > 1 and parts[1] == "studies"
    if parts[0] in sys.stdlib_module_names and parts[0] != "__main__":
        return False
    loaded = sys.modules.get(parts[0])
    spec = getattr(loaded, "__spec__", None) or (None if loaded else importlib.util.find_spec(parts[0]))
    origin = getattr(spec, "origin", None) or getattr(loaded, "__file__", None)
    if origin is None:  # typed in, or run from a string
        return True
    installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    return not any(Path(origin).is_relative_to(folder) for folder in installed)
