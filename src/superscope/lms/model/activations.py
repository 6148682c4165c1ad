"""One pass over a corpus feeds many consumers: `scan`.

    units = activations.neurons(model, layer=0)
    found = activations.scan(model, split.rows(model.n_ctx), units, {"moments": Moments(), "top": TopDocuments(split.document)})
    found["top"].place                       # (unit, 20) where in the split each unit's strongest tokens are

A *unit set* is anything that turns the values at one hook into (batch, position, unit): neurons, directions, an SAE's
encoder. The forward pass stops after the last layer that anyone reads. The BOS of a row is never counted; one that opens a
document inside a row is (the rule judge leaves it out). With `store` the
consumers' states are written every so often, and the same call goes on from there after a crash; what it returns is equal to
the bit.
"""

from __future__ import annotations

import hashlib
import io
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope import machine
from superscope import store as disk
from superscope.errors import TooLargeError
from superscope.lms.corpus.splits import CorpusError, Rows
from superscope.lms.model.consumers import (
    Batch,
    CoActivation,
    Consumer,
    Correlation,
    Histogram,
    LabelCounts,
    LabelSums,
    Moments,
    MomentsResult,
    bin_edges,
    split_labels,
)
from superscope.lms.model.examples import FiringSample, Strata, StrataSample, Top, TopDocuments, Windows
from superscope.lms.model.language_model import LanguageModel, ModelError, rows_to_tensor

__all__ = [
    "CoActivation", "Consumer", "Correlation", "FiringSample", "Histogram", "LabelCounts", "LabelSums", "Moments",
    "MomentsResult", "Strata", "StrataSample", "Top", "TopDocuments", "Units", "Windows", "bin_edges", "directions",
    "encoder", "neurons", "scan", "split_labels", "values",
]  # fmt: skip

_VALUES = 1 << 22  # activations held at once, over all unit sets


@dataclass(frozen=True)
class Units:
    """`read` turns the value at `hook` (batch, position, ...) into (batch, position, unit). `model`: None is the scan's own.

    layer, numbers: for neurons, their layer and their indices in it (None: all, or no neurons).
    """

    hook: str
    read: Callable[[Tensor], Tensor]
    name: str
    model: LanguageModel | None = None
    layer: int | None = None
    numbers: np.ndarray | None = None

    def rotated(self, seed: int) -> Units:
        """The same space in a random orthonormal basis (Haar): the null of a privileged basis."""

        @cache
        def basis(width: int) -> Tensor:
            generator = torch.Generator().manual_seed(seed)
            q, r = torch.linalg.qr(torch.randn(width, width, generator=generator))
            return q * torch.sign(torch.diagonal(r))

        def read(value: Tensor) -> Tensor:
            units = self.read(value)
            return units @ basis(units.shape[-1])

        return Units(self.hook, read, f"{self.name} rotated {seed}", self.model)


def neurons(model: LanguageModel, layer: int = 0, which: np.ndarray | None = None) -> Units:
    """The neurons of a layer (`model.neuron_hook`), all or those numbered in `which`."""
    hook = model.neuron_hook(layer)
    if which is None:
        return Units(hook, lambda value: value, f"neurons {layer}", model, layer)
    chosen = torch.as_tensor(np.asarray(which, dtype=np.int64))
    if chosen.numel() == 0 or int(chosen.min()) < 0 or int(chosen.max()) >= model.d_mlp:
        raise ModelError(f"no such neurons: {model.name} has neurons 0 to {model.d_mlp - 1} in layer {layer}")
    name = f"neurons {layer} {_digest(chosen.numpy())[:12]}"
    return Units(hook, lambda value: value[..., chosen], name, model, layer, chosen.numpy())


def directions(hook: str, matrix: np.ndarray | Tensor, model: LanguageModel | None = None) -> Units:
    """Projections on the columns of `matrix` (d, unit) of what `hook` holds."""
    columns = torch.as_tensor(np.asarray(matrix), dtype=torch.float32)
    return Units(hook, lambda value: value @ columns, f"directions {hook} {_digest(columns.numpy())[:12]}", model)


def encoder(hook: str, encode: Callable[[Tensor], Tensor], name: str, model: LanguageModel | None = None) -> Units:
    """Any function of what `hook` holds, such as an SAE's encoder. `name` tells its states apart from those of another."""
    return Units(hook, encode, f"encoder {hook} {name}", model)


def _digest(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


# ----------------------------------------------------------------------------------------------------------------- scan


def scan(
    model: LanguageModel,
    rows: Rows,
    units: Units | str | Mapping[str, Units | str],
    consumers: Mapping[str, Consumer],
    *,
    batch_rows: int | None = None,
    store: Path | str | None = None,
    every: float = 15.0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Run the rows through the model once and return every consumer's result under its name.

    units: one unit set (called "units" by the consumers), the name of a hook, or several by name; sets of several models may be
    scanned together, on the same rows. store: a folder where states are kept every `every` seconds. progress: called with
    rows done and rows in all. Raises ModelError for tokens the model cannot take and for activations that are not finite,
    CorpusError without rows.
    """
    named = _named(units)
    for name, consumer in consumers.items():
        if missing := set(consumer.of) - set(named):
            raise ValueError(f"consumer {name!r} reads {sorted(missing)}, but the unit sets are {sorted(named)}")
    if not len(rows):
        raise CorpusError("the corpus is empty: no rows to scan")
    tokens = rows_to_tensor(rows.tokens)
    plan = _plan(model, named)
    for one in plan:
        one.model.check_tokens(tokens)
    if batch_rows is None:
        with torch.inference_mode():
            width = sum(value.shape[-1] for value in _read(plan, tokens[:1, :2]).values())
        batch_rows = int(np.clip(_VALUES // (tokens.shape[1] * width), 1, 64))
        need, have = estimate_bytes(model, tokens.shape[1], batch_rows, width), machine.memory_free()
        if have is not None and need > have:
            raise TooLargeError(
                f"reading {width} units of {model.name} takes about {need / 2**30:.1f} GB beside the model and "
                f"{have / 2**30:.1f} GB are free: read fewer units at a time"
            )
    saved = _Checkpoint(store, model, named, rows, consumers, batch_rows) if store is not None else None
    done = saved.load(consumers) if saved else 0
    last = time.monotonic()
    with torch.inference_mode():
        for start in range(done, len(rows), batch_rows):
            part = slice(start, start + batch_rows)
            place = rows.place[part]
            values = _flat(_read(plan, tokens[part]), place, start)
            batch = Batch(values, place[place >= 0])
            if len(batch.place):
                for consumer in consumers.values():
                    consumer.update(batch)
            done = min(start + batch_rows, len(rows))
            if progress:
                progress(done, len(rows))
            if saved and (done == len(rows) or time.monotonic() - last > every):
                saved.save(consumers, done)
                last = time.monotonic()
    return {name: consumer.result() for name, consumer in consumers.items()}


def estimate_bytes(model: LanguageModel, n_ctx: int, batch_rows: int, width: int) -> int:
    """Bytes that a scan adds to the process at its peak: what one batch makes of a layer, and what is read from it, flat and
    as consumers copy it. Their own states come on top.
    """
    shape = model.hooked.cfg
    tokens = batch_rows * n_ctx
    heads = int(shape.n_heads) * (4 * int(shape.d_head) + 3 * n_ctx)
    layer = 8 * model.d_model + heads + 4 * model.d_mlp
    return 4 * tokens * (layer + 4 * width) + (64 << 20)  # the last: the matrix library's own


def _named(units: Units | str | Mapping[str, Units | str]) -> dict[str, Units]:
    sets = units if isinstance(units, Mapping) else {"units": units}
    return {name: Units(one, lambda value: value, one) if isinstance(one, str) else one for name, one in sets.items()}


def values(
    model: LanguageModel, rows: Rows, units: Units | str | Mapping[str, Units | str], batch_rows: int = 32
) -> dict[str, Tensor]:
    """What `units` are at every token of some rows: name -> (token, unit) float32, without the BOS of each row.

    Takes unit sets as `scan` does, and raises what it raises; all is held in memory.
    """
    named = _named(units)
    tokens = rows_to_tensor(rows.tokens)
    plan = _plan(model, named)
    for one in plan:
        one.model.check_tokens(tokens)
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), batch_rows):
            part = slice(start, start + batch_rows)
            parts.append(_flat(_read(plan, tokens[part]), rows.place[part], start))
    return {name: torch.cat([part[name] for part in parts]) for name in named}


@dataclass
class _Pass:
    """What one model's forward pass must give: hook -> [(name of the set, read)]; `stop` the first layer not needed, or
    None."""

    model: LanguageModel
    reads: dict[str, list[tuple[str, Callable[[Tensor], Tensor]]]]
    stop: int | None


def _plan(model: LanguageModel, sets: Mapping[str, Units]) -> list[_Pass]:
    plan: list[_Pass] = []
    for name, one in sets.items():
        own = one.model or model
        if one.hook not in own.hooked.hook_dict:
            raise ModelError(
                f"{own.name} has no hook {one.hook!r}; it has for instance {', '.join(list(own.hooked.hook_dict)[-8:])}"
            )
        known = next((p for p in plan if p.model.hooked is own.hooked), None)
        if known is None:
            known = _Pass(own, {}, 0)
            plan.append(known)
        known.reads.setdefault(one.hook, []).append((name, one.read))
    for one_pass in plan:
        needed = [_layers_before(hook) for hook in one_pass.reads]
        one_pass.stop = None if None in needed else max(n for n in needed if n is not None)
    return plan


def _layers_before(hook: str) -> int | None:
    """How many layers must run so that `hook` is reached; None for what comes after the last."""
    if match := re.match(r"blocks\.(\d+)\.", hook):
        return int(match.group(1)) + 1
    return 0 if hook.startswith(("hook_embed", "hook_pos_embed", "embed", "pos_embed")) else None


def _read(plan: list[_Pass], tokens: Tensor) -> dict[str, Tensor]:
    """Name of the set -> (batch, position, unit)."""
    out: dict[str, Tensor] = {}

    def hook_for(targets: list[tuple[str, Callable[[Tensor], Tensor]]]) -> Callable[..., None]:
        def hook(value: Tensor, hook: Any) -> None:
            for name, read in targets:
                out[name] = read(value)

        return hook

    for one in plan:
        hooks: list[Any] = [(hook, hook_for(targets)) for hook, targets in one.reads.items()]
        # With no layer left out the unembedding is still not needed: return_type=None skips it.
        one.model.hooked.run_with_hooks(tokens, return_type=None, stop_at_layer=one.stop, fwd_hooks=hooks)
        if silent := [hook for hook, targets in one.reads.items() if targets[0][0] not in out]:
            raise ModelError(f"the hook {silent[0]!r} of {one.model.name} never holds anything: the model has no such part")
    return out


def _flat(values: dict[str, Tensor], place: np.ndarray, start: int) -> dict[str, Tensor]:
    """(token, unit) float32 without the BOS positions; ModelError when a value is not finite."""
    only_first = bool((place[:, 0] < 0).all() and (place[:, 1:] >= 0).all())
    keep = None if only_first else torch.from_numpy(np.flatnonzero(place.ravel() >= 0))
    out = {}
    for name, value in values.items():
        if value.ndim != 3 or value.shape[:2] != place.shape:
            raise ValueError(
                f"unit set {name!r} gives shape {tuple(value.shape)}: expected (batch, position, unit) = {(*place.shape, '*')}"
            )
        flat = value[:, 1:].reshape(-1, value.shape[-1]) if keep is None else value.flatten(0, 1)[keep]
        flat = flat.float().contiguous()
        if not bool(torch.isfinite(flat.sum())) and not bool(torch.isfinite(flat).all()):
            bad = torch.nonzero(~torch.isfinite(flat))[0].tolist()
            raise ModelError(
                f"unit set {name!r}: unit {bad[1]} is {flat[bad[0], bad[1]].item()} in the rows from {start} on; "
                "the weights are damaged or overflow, nothing after them can be trusted"
            )
        out[name] = flat
    return out


# ----------------------------------------------------------------------------------------------------------- checkpoint


class _Checkpoint:
    """States of a scan in a folder: ``scan.json`` (sealed) names the array file that belongs to it, so the pair is never
    mixed up."""

    def __init__(
        self,
        folder: Path | str,
        model: LanguageModel,
        sets: Mapping[str, Units],
        rows: Rows,
        consumers: Mapping[str, Consumer],
        batch_rows: int,
    ) -> None:
        self.folder = Path(folder)
        models = {name: weights_digest(one.model or model) for name, one in sets.items()}
        self.key = disk.digest(
            {
                "models": models,
                "sets": {name: (one.hook, one.name) for name, one in sets.items()},
                "rows": [_digest(rows.tokens), _digest(rows.place)],
                "consumers": {name: consumer.identity() for name, consumer in consumers.items()},
                "batch_rows": batch_rows,
            }
        )

    def load(self, consumers: Mapping[str, Consumer]) -> int:
        """Rows already done; 0 when nothing that fits is stored (a damaged or foreign state is not used)."""
        try:
            head = disk.read_sealed(self.folder / "scan.json")
            if head["key"] != self.key:
                return 0
            with np.load(io.BytesIO(disk.read_bytes(self.folder / head["file"], head["sha256"])), allow_pickle=False) as arrays:
                for name, consumer in consumers.items():
                    prefix = f"{name}/"
                    consumer.load_state({k.removeprefix(prefix): arrays[k] for k in arrays.files if k.startswith(prefix)})
        except disk.StoreError:
            return 0
        return int(head["rows"])

    def save(self, consumers: Mapping[str, Consumer], done: int) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, **{f"{name}/{k}": v for name, c in consumers.items() for k, v in c.state_dict().items()})  # type: ignore[arg-type]
        data = buffer.getvalue()
        name = f"state-{self.key[:12]}-{done:07d}.npz"
        head = disk.seal({"key": self.key, "rows": done, "file": name, "sha256": disk.checksum(data)})
        disk.atomic_write_many(self.folder, {name: data, "scan.json": disk.dumps(head).encode()})
        for old in self.folder.glob("state-*.npz"):
            if old.name != name:
                old.unlink(missing_ok=True)


def weights_digest(model: LanguageModel) -> str:
    """sha256 over all parameters by name."""
    seen = hashlib.sha256()
    for name, value in sorted(model.hooked.named_parameters()):
        seen.update(name.encode())
        seen.update(value.detach().contiguous().numpy().tobytes())
    return seen.hexdigest()
