"""A variable of many values at one site: in which directions it is, found in three ways and judged by exchange.

`Message` holds interchange pairs of a state (see `das`), and the mean state of every value in samples of their own. Its
directions can be those in which the means differ most (`components`), those that a linear probe would choose (`probe`), or
those whose exchange makes the model say what the source's value calls for (`search`, distributed alignment search). They need
not agree: a probe may name values in directions that nobody reads, means differ most where they are loudest, and a search on
few values learns them by heart. Judge all by `iia` on values that were not fitted, and by what of a frame is read
(`das.split`). Sixteen values span fifteen directions at most: take more values than dimensions.

Planted truths: `with_means` (values in given directions only, or a copy where nobody reads), `with_residuals` (states that are
nothing but a value's mean and noise). Null: means of other values (`by_means`), random frames; `das.das` has shuffled wishes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from superscope.measure.activations import subspaces
from superscope.recover import das


@dataclass(frozen=True)
class Message:
    """Pairs of states, and what each value's state is on average.

    of_base, of_source (P,): the value of each state, a row of `means` (value, d). sight (T, d), sight_of (T,): the states that
    the means are of. fitted (value,): True for values that may be fitted. read (n, d): what reads the site.
    """

    pairs: das.Pairs
    respond: das.Respond
    of_base: Tensor
    of_source: Tensor
    sight: Tensor
    sight_of: Tensor
    fitted: Tensor
    read: Tensor

    @cached_property
    def means(self) -> Tensor:
        """(value, d) mean state."""
        return means_of(self.sight, self.sight_of, len(self.fitted))

    @cached_property
    def ends(self) -> tuple[float, float]:
        """Interchange accuracy of no exchange and of the whole state."""
        d = self.pairs.base.shape[1]
        return self.iia(torch.zeros(d, 1)), self.iia(torch.eye(d))

    def iia(self, frame: Tensor) -> float:
        """Interchange accuracy of a frame (d, k) on values that were not fitted."""
        return das.iia(self.respond, self.pairs, frame)

    def gain(self, accuracy: float) -> float:
        """Share of the whole state's gain over no exchange."""
        nothing, whole = self.ends
        return (accuracy - nothing) / (whole - nothing)

    def fewest(self, frames: dict[int, Tensor], share: float) -> int:
        """Fewest directions whose frame reaches `share` of the whole state's gain; all of them where none does."""
        return next((k for k in sorted(frames) if self.gain(self.iia(frames[k])) >= share), self.pairs.base.shape[1])

    def search(self, k: int, steps: int, starts: int = 1) -> Tensor:
        """(d, k) frame of alignment search: of several starts the best on the fitted pairs."""
        fit = torch.nonzero(self.pairs.fit)[:, 0]
        tried = [das.learn_frame(self.respond, self.pairs, k, steps, seed=start, batch=128) for start in range(starts)]
        return max(tried, key=lambda frame: das.iia(self.respond, self.pairs, frame, fit))

    def components(self, k: int) -> Tensor:
        """(d, k) principal components of the means of fitted values."""
        return torch.from_numpy(subspaces.principal_basis(self.means[self.fitted].numpy(), k).T.copy())

    def probe(self, directions: list[int]) -> dict[int, float]:
        """Directions -> share of base states whose value is told by the nearest mean, in so many directions of a linear probe.

        Linear discriminant analysis on the states that the means are of; nothing is exchanged.
        """
        spread = self.sight - self.means[self.sight_of]
        within = spread.T @ spread / len(spread)
        within += 1e-3 * within.diagonal().mean() * torch.eye(len(within))
        white = torch.linalg.inv(torch.linalg.cholesky(within)).T
        centre = self.means.mean(0)
        turn = torch.linalg.svd((self.means - centre) @ white, full_matrices=True)[2].T
        places, codes = ((one - centre) @ white @ turn for one in (self.pairs.base, self.means))
        return {
            k: float((torch.cdist(places[:, :k], codes[:, :k]).argmin(1) == self.of_base).double().mean()) for k in directions
        }

    def by_means(self, means: Tensor | None = None) -> float:
        """Share of the whole state's gain when the mean of the base's value is exchanged for that of the source's."""
        means = self.means if means is None else means
        held = self.pairs.held_out
        with torch.no_grad():
            said = self.respond((self.pairs.base + means[self.of_source] - means[self.of_base])[held], held).argmax(1)
        return self.gain(float((said == self.pairs.want[held]).double().mean()))

    def with_means(self, change: Tensor) -> Message:
        """The message with `change` (value, d) of its value added to every state."""
        base, source = self.pairs.base + change[self.of_base], self.pairs.source + change[self.of_source]
        return replace(
            self, pairs=das.Pairs(base, source, self.pairs.want, self.pairs.fit), sight=self.sight + change[self.sight_of]
        )

    def with_residuals(self, order: Tensor) -> Message:
        """States that are their value's mean and what another state has beyond the mean of its own value."""
        base, source = self.pairs.base - self.means[self.of_base], self.pairs.source - self.means[self.of_source]
        states = self.means[self.of_base] + base[order], self.means[self.of_source] + source[order]
        return replace(self, pairs=das.Pairs(*states, self.pairs.want, self.pairs.fit))

    def only_read(self, frame: Tensor) -> Message:
        """The message as it is heard by a reader that is blind to all but `frame` (d, r)."""

        def respond(values: Tensor, rows: Tensor) -> Tensor:
            still = self.pairs.base[rows]
            return self.respond(still + (values - still) @ frame @ frame.T, rows)

        return replace(self, respond=respond)


def means_of(states: Tensor, of: Tensor, values: int) -> Tensor:
    """(value, d) mean state of each value."""
    total = torch.zeros(values, states.shape[1]).index_add_(0, of, states)
    return total / torch.bincount(of, minlength=values).clamp_min(1)[:, None]
