"""Matryoshka BatchTopK (Bussmann et al. 2025, arXiv 2503.17547): the first latents must reconstruct without the later ones.

The loss is the sum of the squared errors of every nested prefix, all with weight 1, as in SAELens. General features settle in
the early latents, so that a child feature absorbs less of its parent; a narrow prefix hedges instead (Chanin et al. 2025,
arXiv 2505.11756), and `balance` weighs the inner prefixes down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from superscope.errors import UserError
from superscope.recover.sae.batch_topk import BatchTopK


@dataclass(frozen=True, kw_only=True)
class Matryoshka(BatchTopK):
    """prefixes: widths of the inner prefixes, as shares of the whole. balance: weight of every inner prefix."""

    name: ClassVar[str] = "matryoshka"
    summary: ClassVar[str] = "BatchTopK whose first latents must also reconstruct alone, in nested prefixes"

    prefixes: tuple[float, ...] = (1 / 16, 1 / 4)
    balance: float = 1.0

    def check(self, d_in: int) -> None:
        super().check(d_in)
        sizes = [high for _, high in self.blocks()]
        if sizes != sorted(set(sizes)) or sizes[0] < 1:
            raise UserError(f"prefixes={self.prefixes} of {self.width} latents: give shares between 0 and 1, each larger")

    def blocks(self) -> list[tuple[int, int]]:
        ends = [round(share * self.width) for share in self.prefixes] + [self.width]
        return list(zip([0, *ends[:-1]], ends, strict=True))

    def weights(self) -> list[float]:
        return [self.balance] * len(self.prefixes) + [1.0]
