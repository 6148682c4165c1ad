"""Distributed alignment search: which k directions of a state carry a variable, and does anything downstream read them?

`das` learns an orthonormal k-frame F (d, k) by gradient on the patched loss: the state of a base run with the coordinates
F^T h of a source run in it, h + F F^T (h' - h), must make the model say what the source's value of the variable calls for
(Geiger et al., arXiv 2303.02536). What counts is the interchange intervention accuracy (IIA) on pairs that were not fitted.
Nulls: the same search on shuffled wishes, and random frames. Oblique swaps:
`interchange.learn_swap`.

A frame with a high IIA need not be what the model uses. A direction that varies with the variable and is read by nothing, plus
one that is read and never varies ("dormant"), make together a direction whose patch works (Makelov et al., arXiv 2311.17030).
`split` tells: of each learned direction the share in the null space of what reads the site, and the IIA of its row-space part
alone, which survives for the true variable and is lost for the illusion. At the best illusion both halves are equally long and
the null share is one half, on either side of any threshold there: judge by the row-space IIA first. A frame that does better
than the swap of the whole state is another sign. A flagged frame does not acquit the site: where a louder copy of the
variable lies unread beside a quiet one that is read, the search prefers the illusion; search again `inside` the row space. The
split misleads where everything is read a little (a residual stream of a deep model): the null space is then empty, and the
row-space part is the whole frame.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from superscope.lms.model.language_model import LanguageModel, rows_to_tensor
from superscope.recover.interchange import swap

Respond = Callable[[Tensor, Tensor], Tensor]
"""(values (P, d), rows (P,)) -> logits (P, K): the model from the site on. `rows` number the base inputs, for whatever the
answer depends on besides the site."""


@dataclass(frozen=True)
class Pairs:
    """Interchange pairs. base, source (P, d): values at the site; want (P,): the answer, of K, with the source's variable in
    the base; fit (P,): True for the pairs that may be fitted. Split by names or templates, not at random, where answers could
    be learned by heart. Include pairs in which the answer must change, or nothing swapped scores as high."""

    base: Tensor
    source: Tensor
    want: Tensor
    fit: Tensor

    def __post_init__(self) -> None:
        count = len(self.base)
        if self.base.shape != self.source.shape or self.base.ndim != 2:
            raise ValueError(
                f"base has shape {tuple(self.base.shape)} and source {tuple(self.source.shape)}: expected (P, d) twice"
            )
        for name in ("want", "fit"):
            if getattr(self, name).shape != (count,):
                raise ValueError(f"{name} has shape {tuple(getattr(self, name).shape)}: expected ({count},), one per pair")
        if not 0 < int(self.fit.sum()) < count:
            raise ValueError(
                f"fit is True for {int(self.fit.sum())} of {count} pairs: some must be fitted, and some must judge"
            )

    @property
    def held_out(self) -> Tensor:
        """Numbers of the pairs that judge."""
        return torch.nonzero(~self.fit)[:, 0]


@dataclass(frozen=True)
class Alignment:
    """A learned frame (d, k) and IIAs on held-out pairs: its own; of frames fitted on shuffled wishes (draws,); of random
    frames (draws,); with the whole state swapped (the ceiling); with nothing swapped (the floor)."""

    frame: Tensor
    iia: float
    shuffled: np.ndarray
    random: np.ndarray
    whole: float
    nothing: float


@dataclass(frozen=True)
class Split:
    """null_share (k,): share of each canonical direction of the frame that nothing reads, largest first (canonical: the
    singular directions of the unread part, so that the shares do not depend on the basis of the frame). row_iia: held-out IIA
    of the row-space part alone, made orthonormal. iia, nothing: of the whole frame and of no patch."""

    null_share: np.ndarray
    row_iia: float
    iia: float
    nothing: float

    @property
    def kept(self) -> float:
        """Share of the gain over no patch that the row-space part keeps; NaN where the frame gains less than .05."""
        gain = self.iia - self.nothing
        return float((self.row_iia - self.nothing) / gain) if gain > 0.05 else float("nan")

    @property
    def accepted(self) -> bool:
        """Read more than unread (null share of every direction < .5), and the read part alone keeps over half of the gain."""
        return bool(self.null_share.max() < 0.5 and self.kept > 0.5)


def patched(pairs: Pairs, frame: Tensor, rows: Tensor) -> Tensor:
    """(len(rows), d) base states with the coordinates of `frame` (d, k) taken from the source."""
    return swap(pairs.base[rows], pairs.source[rows], frame, frame)


def iia(respond: Respond, pairs: Pairs, frame: Tensor, rows: Tensor | None = None) -> float:
    """Interchange intervention accuracy: share of the pairs `rows` (default: held out) that answer `want` after the patch."""
    rows = pairs.held_out if rows is None else rows
    with torch.no_grad():
        said = respond(patched(pairs, frame, rows), rows).argmax(-1)
    return float((said == pairs.want[rows]).double().mean())


def random_frame(d: int, k: int, seed: int) -> Tensor:
    """(d, k) orthonormal, uniformly distributed."""
    return torch.linalg.qr(torch.randn(d, k, generator=torch.Generator().manual_seed(seed)))[0]


def learn_frame(
    respond: Respond, pairs: Pairs, k: int, steps: int = 200, lr: float = 0.03, seed: int = 0, batch: int = 256,
    inside: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """(d, k) orthonormal frame that minimises the cross-entropy of `want` after the patch, on the fitted pairs.

    inside: (d, r) orthonormal basis that the frame must stay in, such as `row_space` of what reads the site."""
    d = pairs.base.shape[1]
    room = torch.eye(d) if inside is None else inside
    if not 1 <= k <= room.shape[1]:
        raise ValueError(f"k={k}: expected 1 to {room.shape[1]} directions of a site of {room.shape[1]}")
    draw = torch.Generator().manual_seed(seed)
    # orthonormal from the start: a step of `lr` turns longer columns by less
    free = torch.linalg.qr(torch.randn(room.shape[1], k, generator=draw))[0].requires_grad_()
    fitted = torch.nonzero(pairs.fit)[:, 0]
    optimiser = torch.optim.Adam([free], lr=lr)
    for _ in range(steps):
        rows = fitted[torch.randperm(len(fitted), generator=draw)[:batch]]
        said = respond(patched(pairs, room @ torch.linalg.qr(free)[0], rows), rows)
        loss = torch.nn.functional.cross_entropy(said, pairs.want[rows])
        (free.grad,) = torch.autograd.grad(loss, [free])
        optimiser.step()
    return room @ torch.linalg.qr(free.detach())[0]


def das(respond: Respond, pairs: Pairs, k: int, draws: int = 3, starts: int = 2, seed: int = 0, **options: Any) -> Alignment:
    """Learn a k-frame and judge it on held-out pairs beside its nulls.

    starts: the one with the best IIA on the fitted pairs is kept, in the shuffled null alike. draws: of each null.
    options: `steps`, `lr`, `batch`, `inside` of
    `learn_frame`.
    """
    fitted = torch.nonzero(pairs.fit)[:, 0]

    def best(some: Pairs, first: int) -> Tensor:
        frames = [learn_frame(respond, some, k, seed=first + i, **options) for i in range(starts)]
        return max(frames, key=lambda frame: iia(respond, some, frame, fitted))

    d = pairs.base.shape[1]
    frame = best(pairs, seed)
    shuffled = []
    for turn in range(draws):
        draw = torch.Generator().manual_seed(7919 * (seed + 1) + turn)
        want = pairs.want.clone()
        want[fitted] = want[fitted[torch.randperm(len(fitted), generator=draw)]]
        wrong = best(Pairs(pairs.base, pairs.source, want, pairs.fit), seed + starts * (turn + 1))
        shuffled.append(iia(respond, pairs, wrong))
    room = options.get("inside", torch.eye(d))
    frames = [room @ random_frame(room.shape[1], k, 104729 * (seed + 1) + turn) for turn in range(draws)]
    return Alignment(
        frame, iia(respond, pairs, frame), np.array(shuffled), np.array([iia(respond, pairs, one) for one in frames]),
        iia(respond, pairs, torch.eye(d)), iia(respond, pairs, torch.zeros(d, 1)),
    )  # fmt: skip


# ------------------------------------------------------------------------------- what is read of a direction, and what is not


def jacobian_read(respond: Respond, values: Tensor, rows: Tensor) -> Tensor:
    """(P K, d) what the answers read of the site, to first order at `values` (P, d): rows are gradients of logits. What no row
    reaches is read at none of these points; a ReLU that is off at all of them hides what it would read."""
    points = values.detach().clone().requires_grad_()
    logits = respond(points, rows)
    grads = [torch.autograd.grad(logits[:, j].sum(), points, retain_graph=True)[0] for j in range(logits.shape[1])]
    return torch.cat(grads)


def row_space(read: Tensor, tolerance: float = 1e-5) -> Tensor:
    """(d, r) orthonormal basis of what is read: right singular directions of `read` (n, d), one row per reader, whose singular
    value exceeds `tolerance` times the largest."""
    _, size, directions = torch.linalg.svd(read.double(), full_matrices=False)
    return directions[size > tolerance * size[0]].T.to(read.dtype)


def null_shares(frame: Tensor, read: Tensor, tolerance: float = 1e-5) -> np.ndarray:
    """(k,) squared length outside the row space of `read` (n, d) of the canonical directions of `frame` (d, k), largest first.
    Null: a random direction has 1 - r / d of it."""
    rows = row_space(read, tolerance)
    unread = frame - rows @ (rows.T @ frame)
    return np.clip(torch.linalg.svdvals(unread.double()).numpy() ** 2, 0, 1)


def row_part(frame: Tensor, read: Tensor, tolerance: float = 1e-5) -> Tensor:
    """(d, <= k) orthonormal frame of the row-space part of `frame` (d, k), without what is shorter than 1e-3 in it."""
    rows = row_space(read, tolerance)
    left, size, _ = torch.linalg.svd(rows @ (rows.T @ frame), full_matrices=False)
    return left[:, size**2 > 1e-6]


def split(respond: Respond, pairs: Pairs, frame: Tensor, read: Tensor, tolerance: float = 1e-5) -> Split:
    """The part of `frame` (d, k) that `read` (n, d) reads against the part that it does not, on held-out pairs.

    The patch is made anew along the row-space part, h + R R^T (h' - h): leaving the unread half out of the old patch would
    change nothing that is read. read: weights of everything that reads the site, one reader a row, or `jacobian_read`.
    """
    return Split(
        null_shares(frame, read, tolerance),
        iia(respond, pairs, row_part(frame, read, tolerance)),
        iia(respond, pairs, frame),
        iia(respond, pairs, torch.zeros(len(frame), 1)),
    )


# ------------------------------------------------------------------------------------------------------------ language models


def site(
    model: LanguageModel, tokens: np.ndarray, hook: str, position: int, answers: Sequence[int], at: int = -1
) -> tuple[Tensor, Respond]:
    """(values (P, d), respond) of one position at one hook, for `das`.

    tokens: (P, position) int64 prompts of one length. answers: token ids among which the model chooses at position `at`.
    respond(values, rows): logits (., K) of the answers, prompts `rows` run with `values` at the site. A hook of heads
    (head, d_head) is read flat. Pairs of prompts: index `values` with their numbers for the sources; base i must be prompt i.
    """
    inputs, chosen = rows_to_tensor(tokens), torch.as_tensor(list(answers))
    values = model.activations(inputs, [hook])[hook][:, position].clone()

    def respond(new: Tensor, rows: Tensor) -> Tensor:
        def put(old: Tensor, hook: Any = None) -> Tensor:
            out = old.clone()
            out[:, position] = new.reshape(out[:, position].shape)
            return out

        logits: Tensor = model.hooked.run_with_hooks(inputs[rows], return_type="logits", fwd_hooks=[(hook, put)])
        return logits[:, at][:, chosen]

    return values.flatten(1), respond
