"""Where the results of a sweep are kept: arrays by unit, in a Zarr store or in memory.

Every unit writes whole chunks of its own (Zarr writes a chunk beside its final name and renames it) and then a marker with
checksums. A unit without a marker was not finished; a unit whose chunks do not match its marker is damaged.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from superscope import store
from superscope.store import StoreError
from superscope.sweep.grid import Grid
from superscope.sweep.recipe import Recipe
from superscope.sweep.unit import Arrays, Block, output_count, result_shapes
from superscope.toys import ModuleToy

SPEC = "superscope.json"


def dimensions(sweep: Grid, name: str, rank: int) -> tuple[str, ...]:
    """Names of the dimensions behind the grid axes of a result array with `rank` of them."""
    if name.startswith("history_"):
        return ("step", *dimensions(sweep, name.removeprefix("history_"), rank - 1))
    outputs = "feature" if output_count(sweep.toy, sweep.inputs.n) == sweep.inputs.n else "output"
    known = {
        "loss": (), "loss_se": (), "loss_per_feature": (outputs,), "W": ("hidden", "feature"), "W_out": (outputs, "hidden"),
        "b_hidden": ("hidden",), "b_out": (outputs,),
    }  # fmt: skip
    if name in known and not (isinstance(sweep.toy, ModuleToy) and name in ("W", "W_out", "b_hidden", "b_out")):
        return known[name]
    return tuple(f"{name}_{i}" for i in range(rank))


class MemoryArchive:
    """Results of a sweep that is not stored."""

    def __init__(self, sweep: Grid, recipe: Recipe, blocks: list[Block], engine: str):
        self.blocks, self.engine, self.notes = blocks, engine, list[str]()
        shapes = result_shapes(sweep, recipe)
        self.arrays: Arrays = {name: np.full((*sweep.shape, *tail), np.nan, np.float32) for name, tail in shapes.items()}

    def finished(self, number: int) -> bool:
        return False

    def write(self, number: int, arrays: Arrays) -> None:
        for name, value in arrays.items():
            self.arrays[name][self.blocks[number]] = value

    def load(self) -> dict[str, Any]:
        return dict(self.arrays)


class ZarrArchive:
    """Results of a sweep in a folder; `blocks` and `engine` of an existing store win over the ones asked for."""

    def __init__(self, path: Path, sweep: Grid, recipe: Recipe, blocks: list[Block], engine: str):
        self.path, self.notes = Path(path), list[str]()
        self._sweep, self._recipe = sweep, recipe
        wanted = {"spec": sweep.describe(), "recipe": store.plain(_recipe_dict(recipe)), "engine": engine}
        if (self.path / SPEC).exists():
            found = read_spec(self.path)
            for part in ("spec", "recipe", "engine"):
                if found[part] != store.plain(wanted[part]):
                    raise StoreError(
                        f"{self.path} holds another sweep ({first_difference(found[part], store.plain(wanted[part]), part)}): "
                        "choose another store, or delete this one"
                    )
            self.blocks = [tuple(slice(*ab) for ab in block) for block in found["blocks"]]
        else:
            if self.path.exists() and any(self.path.iterdir()):
                raise StoreError(f"{self.path} exists but is no sweep store (no {SPEC} in it): choose another folder")
            self.blocks = blocks
            self._create()
            listed = [[[s.start, s.stop] for s in block] for block in blocks]
            store.atomic_write_json(self.path / SPEC, store.seal({**wanted, "blocks": listed}))
        self._group = self._open()

    def _create(self) -> None:
        import zarr

        shapes = result_shapes(self._sweep, self._recipe)
        chunk = tuple(max(b[i].stop - b[i].start for b in self.blocks) for i in range(len(self._sweep.shape)))
        axes = tuple(self._sweep.axes)
        try:
            group = zarr.open_group(self.path, mode="w")
            for name, tail in shapes.items():
                group.create_array(
                    name, shape=(*self._sweep.shape, *tail), chunks=(*chunk, *(max(1, k) for k in tail)), dtype="float32",
                    fill_value=float("nan"), dimension_names=(*axes, *dimensions(self._sweep, name, len(tail))),
                )  # fmt: skip
        except OSError as error:
            raise StoreError(
                f"the store {self.path} cannot be created ({error.strerror or error}): choose another folder"
            ) from error

    def _open(self) -> Any:
        import zarr

        try:
            group = zarr.open_group(self.path, mode="r+")
            missing = [name for name in result_shapes(self._sweep, self._recipe) if name not in group]
        except Exception as error:
            raise StoreError(f"{self.path} is damaged ({type(error).__name__}: {error}): delete it and train again") from error
        if missing:
            raise StoreError(f"{self.path} is damaged (array {missing[0]!r} is gone): delete it and train again")
        return group

    def _marker(self, number: int) -> Path:
        return self.path / "units" / f"{number:05d}.json"

    def finished(self, number: int) -> bool:
        """Whether the unit is there, whole. A damaged one counts as missing, and is noted."""
        if not self._marker(number).exists():
            return False
        try:
            marks = store.read_json(self._marker(number))
            whole = all(store.checksum(self._read(name, number).tobytes()) == mark for name, mark in marks.items())
        except Exception:  # whatever a damaged chunk or marker raises, the unit is not usable
            whole = False
        if not whole:
            self.notes.append(f"unit {number} of {self.path.name} was damaged and is trained again")
        return whole

    def _read(self, name: str, number: int) -> np.ndarray:
        return np.ascontiguousarray(self._group[name][self.blocks[number]])

    def write(self, number: int, arrays: Arrays) -> None:
        try:
            for name, value in arrays.items():
                self._group[name][self.blocks[number]] = value
        except OSError as error:
            raise StoreError(
                f"unit {number} cannot be written to {self.path} ({error.strerror or error}): free some space and run again, "
                "the finished units are kept"
            ) from error
        marks = {name: store.checksum(np.ascontiguousarray(value).tobytes()) for name, value in arrays.items()}
        store.atomic_write_json(self._marker(number), marks)

    def load(self) -> dict[str, Any]:
        """Lazily indexed arrays: nothing is read before it is used."""
        return {name: self._group[name] for name in result_shapes(self._sweep, self._recipe)}


def read_spec(path: Path) -> dict[str, Any]:
    """The sealed description of a store; raises StoreError when it is damaged or of another format."""
    found = store.read_sealed(Path(path) / SPEC)
    from superscope.sweep.grid import FORMAT

    if found["spec"].get("format") != FORMAT:
        raise StoreError(f"{path} was written in format {found['spec'].get('format')}, this is format {FORMAT}: train it again")
    return found


def _recipe_dict(recipe: Recipe) -> dict[str, Any]:
    return {name: getattr(recipe, name) for name in recipe.__dataclass_fields__}


def first_difference(old: Any, new: Any, where: str) -> str:
    """Words for the first place where two descriptions differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(set(old) | set(new)):
            if old.get(key) != new.get(key):
                return first_difference(old.get(key), new.get(key), f"{where}.{key}")
    short = [text if len(text) < 60 else text[:57] + "..." for text in (json.dumps(old), json.dumps(new))]
    return f"{where} is {short[0]} there, {short[1]} here"
