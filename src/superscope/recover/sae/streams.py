"""What SAEs are trained on: activations of a language model, read as they are needed, or samples drawn by a function.

A source is a pure function of the step. Activations come in chunks of rows, shuffled within a chunk, so memory is bounded by
one chunk and a training that was cut off goes on with the very batches it would have had.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from superscope import store
from superscope.errors import UserError
from superscope.lms.corpus.splits import Rows
from superscope.lms.model import activations
from superscope.lms.model.language_model import LanguageModel


@dataclass(frozen=True)
class Samples:
    """Batches drawn by `draw(step)`: (sample, d), or (seed, sample, d). name: tells them apart from other data."""

    draw: Callable[[int], Tensor]
    name: str

    @classmethod
    def of(cls, x: Tensor, batch: int, seed: int, name: str) -> Samples:
        """Batches of the rows of x (sample, d), held in memory, in an order of its own every epoch."""
        per_epoch = len(x) // batch
        if not per_epoch:
            raise UserError(f"a batch of {batch} samples is more than there are ({len(x)}): lower the batch")
        digest = store.checksum(x.contiguous().numpy().tobytes())[:16]

        @lru_cache(maxsize=1)
        def order(epoch: int) -> np.ndarray:
            return np.random.default_rng([seed, epoch, 2]).permutation(len(x))

        def draw(step: int) -> Tensor:
            epoch, place = divmod(step, per_epoch)
            return x[order(epoch)[place * batch : (place + 1) * batch]]

        return cls(draw, f"{name} {digest}, {batch}, {seed}")

    def __call__(self, step: int) -> Tensor:
        return self.draw(step)


class Activations:
    """Batches of (token, d) at `hook`, or pairs (hook, target) for a transcoder.

    rows: the text. Epochs go over all rows in a seeded order; `chunk_rows` rows are read at once and their tokens shuffled.
    What does not fill a batch at the end of a chunk is left out.
    """

    def __init__(
        self, model: LanguageModel, hook: str, rows: Rows, *, target: str | None = None, batch: int = 4096,
        chunk_rows: int = 512, seed: int = 0,
    ) -> None:  # fmt: skip
        self.model, self.rows, self.batch, self.seed = model, rows, batch, seed
        self.units = {"x": hook} | ({"y": target} if target else {})
        self.chunk_rows = min(chunk_rows, len(rows))
        if batch < 1 or self.chunk_rows < 1:
            raise UserError(f"batch {batch} of {len(rows)} rows: at least one sample and one row are needed")
        tokens = self.chunk_rows * (rows.tokens.shape[1] - 1)
        self.per_chunk = tokens // batch
        if not self.per_chunk:
            raise UserError(f"a batch of {batch} tokens is more than {self.chunk_rows} rows hold ({tokens}): lower the batch")
        text = store.checksum(np.ascontiguousarray(rows.tokens).tobytes())
        self.name = (
            f"{hook} {target or ''} of {activations.weights_digest(model)[:16]} on {text[:16]}, {batch}x{chunk_rows}, {seed}"
        )
        self._held: tuple[int, dict[str, Tensor]] = (-1, {})

    def __call__(self, step: int) -> Tensor | tuple[Tensor, Tensor]:
        chunk, place = divmod(step, self.per_chunk)
        if self._held[0] != chunk:
            self._held = (-1, {})  # let go of the last chunk before the next is read
            self._held = (chunk, self._read(chunk))
        part = slice(place * self.batch, (place + 1) * self.batch)
        held = self._held[1]
        return (held["x"][part], held["y"][part]) if "y" in held else held["x"][part]

    def _read(self, chunk: int) -> dict[str, Tensor]:
        chunks = len(self.rows) // self.chunk_rows
        epoch, number = divmod(chunk, chunks)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.rows))
        which = np.sort(order[number * self.chunk_rows : (number + 1) * self.chunk_rows])
        held = activations.values(self.model, Rows(self.rows.tokens[which], self.rows.place[which]), self.units)
        shuffled = torch.from_numpy(np.random.default_rng([self.seed, chunk, 1]).permutation(len(held["x"])))
        return {key: value[shuffled] for key, value in held.items()}
