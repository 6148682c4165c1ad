"""Stochastic parameter decomposition: the weights of a small network as a sum of rank-one parts, few of which matter at a time.

Bushnaq, Braun & Sharkey 2025 (arXiv 2506.20790). Every weight matrix is W = sum_c U_c V_c^T. How much part c matters for an
input is its causal importance g_c in [0, 1], a small network of its own that reads the inner activation V_c . a, where a is
what the layer is given in the target network. A part that does not matter may be scaled by anything from its importance to 1
and the output must stay what it was: masks m_c = g_c + (1 - g_c) u_c with u_c uniform on [0, 1]. Losses:

    faithfulness  mean over all entries of all matrices of (W - sum_c U_c V_c^T)^2
    stochastic    mean over samples and outputs of (output - output with all layers masked)^2
    layerwise     the same with one layer masked at a time, mean over layers
    minimality    mean over samples of sum_c |g_c|^p, over all layers

g is a leaky hard sigmoid of the gate: in masks it leaks below 0, in the minimality loss above 1, slope .01, so that gates
saturated on the harmless side are not stuck. Coefficients 1, 1, 1 and, by the authors, minimality 3e-3 with p = 1 for 5
features in 2 dimensions and 1e-4 with p = 2 for 40 in 10; 16 hidden units a gate, batch 4096, Adam 1e-3 with cosine decay.

Null: the same training with minimality 0. It is as faithful and finds nothing. `untrained` is the weaker one: the start.

Misleads. The parts are those of the basis the inputs are sparse in: of a toy whose features are its input coordinates the
truth is the columns of W whatever W is, so a match with columns is no evidence that training made them. A coefficient of
minimality that is too large merges or drops parts that matter little (short columns, near-duplicates) and makes what is left
too long, since masks are then below 1 on average: columns of .7 to 1.2 in a plane, no bias, come out 2 to 9 % long at 3e-3. One
that is too small leaves copies. Short trainings end in minima where two columns share a part; several starts and
`Decomposition.loss` help.
By the authors' own score a column counts as found when some part writes along it, even if that part writes other columns, too:
any twenty directions of a plane then score .99. `scores` gives the strict score beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from superscope.errors import UserError

Apply = Mapping[str, Callable[[Tensor], Tensor]]
"""Layer -> what applies its weight matrix: (seed, sample, d_in) -> (seed, sample, d_out)."""
Forward = Callable[[Apply, Tensor], Tensor]
"""The network: (apply, inputs (seed, sample, n)) -> outputs (seed, sample, k). Each layer once; biases in here."""
Draw = Callable[[int], Tensor]
"""Inputs of a step: (sample, n), or (seed, sample, n)."""

LEAK = 0.01
ALIVE = 0.1  # importance from which a part matters for an input (the authors' ci_alive_threshold)


@dataclass(frozen=True)
class Recipe:
    """What is trained and how. The defaults are the authors' for 5 features in 2 dimensions, but for `steps`.

    components: parts of every matrix. hidden: units of a gate. minimality, faithfulness, stochastic, layerwise: coefficients.
    p: norm of the importances. lr: peak rate of Adam, decays to 0 by a cosine.
    """

    components: int = 20
    hidden: int = 16
    minimality: float = 3e-3
    p: float = 1.0
    faithfulness: float = 1.0
    stochastic: float = 1.0
    layerwise: float = 1.0
    steps: int = 40_000
    lr: float = 1e-3

    def __post_init__(self) -> None:
        for name in ("components", "hidden"):
            value = getattr(self, name)
            if isinstance(value, bool) or int(value) != value or value < 1:
                raise UserError(f"{name}={value!r}: a whole number of at least 1")
        if isinstance(self.steps, bool) or int(self.steps) != self.steps or self.steps < 0:
            raise UserError(f"steps={self.steps!r}: a whole number, not below 0 (0: the untrained start)")
        for name in ("minimality", "faithfulness", "stochastic", "layerwise"):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise UserError(f"{name}={value!r}: a coefficient is finite and not below 0")
        for name in ("p", "lr"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise UserError(f"{name}={value!r}: finite and above 0")


Gates = tuple[Tensor, Tensor, Tensor, Tensor]
"""Of all layers, one after the other: (seed, layer * component, hidden) thrice, then (seed, layer * component): slopes and
offsets of the hidden units, their weights, an offset."""


@dataclass(frozen=True)
class Decomposition:
    """The parts of every matrix, for every seed.

    weights: layer -> (seed, d_out, d_in), the target. U, V: layer -> (seed, component, d_out) and (seed, component, d_in).
    minimality: (seed,) coefficients. history: (step, {loss: (seed,) values}).
    """

    weights: dict[str, Tensor]
    U: dict[str, Tensor]
    V: dict[str, Tensor]
    gates: Gates = field(repr=False)
    forward: Forward = field(repr=False)
    recipe: Recipe
    minimality: Tensor
    history: list[tuple[int, dict[str, list[float]]]] = field(repr=False, default_factory=list)

    def parts(self, layer: str) -> Tensor:
        """(seed, component, d_out, d_in): U_c V_c^T of a layer."""
        self._known(layer)
        return self.U[layer][..., :, None] * self.V[layer][..., None, :]

    def importances(self, x: Tensor) -> dict[str, Tensor]:
        """Causal importances in [0, 1] on inputs x (sample, n) or (seed, sample, n): layer -> (seed, sample, component)."""
        with torch.no_grad():
            _, given = target(self.weights, self.forward, self._inputs(x))
            g = _gate(self.gates, _inner(given, self.V)).clamp(0, 1)
            return dict(zip(self.V, g.split(self.recipe.components, -1), strict=True))

    def live(self, x: Tensor, above: float = ALIVE) -> dict[str, Tensor]:
        """Parts whose importance exceeds `above` on some of the inputs x: layer -> (seed, component), bool.

        Null: a decomposition without minimality, where all parts live. Misleads when x leaves out inputs that a part is for.
        """
        return {name: (g > above).any(1) for name, g in self.importances(x).items()}

    def error(self, x: Tensor, masked: str = "importances") -> Tensor:
        """(seed,) squared error of the output with every part scaled, over the variance of the output on x.

        masked: "importances" (scaled by g), "alive" (parts with g above .1 whole, the others gone), "none" (all parts whole).
        """
        x = self._inputs(x)
        if masked not in ("importances", "alive", "none"):
            raise UserError(f"masked={masked!r}: known are importances, alive, none")
        with torch.no_grad():
            wanted, _ = target(self.weights, self.forward, x)
            g = self.importances(x)
            if masked == "alive":
                g = {name: (one > ALIVE).float() for name, one in g.items()}
            masks = {name: torch.ones_like(one) if masked == "none" else one for name, one in g.items()}
            said = self.forward({name: _masked(self.U[name], self.V[name], m) for name, m in masks.items()}, x)
            return (said - wanted).square().mean((1, 2)) / wanted.var(1, correction=0).mean(1).clamp_min(1e-30)

    def unfaithful(self) -> dict[str, Tensor]:
        """Layer -> (seed,): ||W - sum_c U_c V_c^T|| / ||W||. Above a few hundredths the training was too short."""
        return {
            name: (w - self.U[name].mT @ self.V[name]).flatten(1).norm(dim=1) / w.flatten(1).norm(dim=1).clamp_min(1e-30)
            for name, w in self.weights.items()
        }

    def loss(self, x: Tensor, draws: int = 8) -> Tensor:
        """(seed,) what was minimised, on inputs x and the mean over `draws` masks, the same for all seeds.

        Of several starts on the same weights the one of least loss is the one to keep: no truth is needed for it. Misleads
        between different weights or different coefficients.
        """
        x, weights = self._inputs(x), self.weights
        entries = sum(w[0].numel() for w in weights.values())
        with torch.no_grad():
            found = []
            for turn in range(draws):
                same = [torch.Generator().manual_seed(turn) for _ in self.minimality]
                terms = _losses(weights, self.forward, self.U, self.V, self.gates, x, self.recipe, same, entries)
                found.append(_total(terms, self.recipe, self.minimality))
            return torch.stack(found).mean(0)

    def _inputs(self, x: Tensor) -> Tensor:
        return _spread(x, len(next(iter(self.weights.values()))))

    def _known(self, layer: str) -> None:
        if layer not in self.weights:
            raise UserError(f"no layer {layer!r}: there are {', '.join(self.weights)}")


def target(weights: Mapping[str, Tensor], forward: Forward, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """(outputs (seed, sample, k), layer -> what it is given (seed, sample, d_in)) of the network itself."""
    given: dict[str, Tensor] = {}

    def whole(name: str) -> Callable[[Tensor], Tensor]:
        def run(a: Tensor) -> Tensor:
            if name in given:
                raise UserError(f"layer {name!r} is applied twice: give the second use a name and a copy of the weights")
            given[name] = a
            return a @ weights[name].mT

        return run

    out = forward({name: whole(name) for name in weights}, x)
    unused = [name for name in weights if name not in given]
    if unused:
        raise UserError(f"the network does not apply {', '.join(unused)}: leave out weights that are not to be decomposed")
    return out, given


def decompose(
    weights: Mapping[str, Tensor], forward: Forward, draw: Draw, recipe: Recipe | None = None, seeds: Sequence[int] = (0,),
    minimality: Sequence[float] | None = None,
) -> Decomposition:  # fmt: skip
    """Train parts and gates for every seed at once; seeds do not touch each other.

    weights: layer -> (d_out, d_in) for all seeds, or (seed, d_out, d_in), one network a seed. minimality: a coefficient for
    each seed in place of the recipe's, so that a null without it trains in the same batch.
    Deterministic: start and masks of a seed come from its number alone. Raises UserError for weights or inputs that are not
    finite or do not fit, and for a training that diverges.
    """
    recipe = recipe or Recipe()
    numbers = list(seeds)
    if not numbers or not weights:
        raise UserError(f"{len(weights)} weight matrices and {len(numbers)} seeds: at least one of each")
    prices = [recipe.minimality] * len(numbers) if minimality is None else list(minimality)
    if len(prices) != len(numbers) or not all(one >= 0 and math.isfinite(one) for one in prices):
        raise UserError(f"minimality={prices}: expected {len(numbers)} coefficients, one a seed, finite and not below 0")
    price = torch.tensor(prices)
    held = {name: _weights(name, w, len(numbers)) for name, w in weights.items()}
    draws = [torch.Generator().manual_seed(7919 * seed + 5) for seed in numbers]
    U, V, gates = _start(held, recipe, draws)
    moving = [*U.values(), *V.values(), *gates]
    for one in moving:
        one.requires_grad_()
    optimiser = torch.optim.Adam(moving, lr=recipe.lr, fused=True)
    entries = sum(w[0].numel() for w in held.values())
    history: list[tuple[int, dict[str, list[float]]]] = []
    every = max(1, recipe.steps // 20)
    for step in range(recipe.steps):
        optimiser.param_groups[0]["lr"] = recipe.lr * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
        terms = _losses(held, forward, U, V, gates, _spread(draw(step), len(numbers)), recipe, draws, entries)
        total = _total(terms, recipe, price)
        optimiser.zero_grad()
        total.sum().backward()
        optimiser.step()
        if step % every == 0 or step == recipe.steps - 1:
            if not bool(torch.isfinite(total).all()):
                raise UserError(f"the decomposition diverges at step {step}: lower the learning rate ({recipe.lr:g})")
            history.append((step + 1, {name: value.tolist() for name, value in terms.items()}))
    return Decomposition(
        held,
        {name: one.detach() for name, one in U.items()},
        {name: one.detach() for name, one in V.items()},
        (gates[0].detach(), gates[1].detach(), gates[2].detach(), gates[3].detach()),
        forward,
        recipe,
        price,
        history,
    )


def random_parts(weights: Tensor, components: int, seed: int = 0) -> Tensor:
    """(seed, component, d_out, d_in) rank-one matrices in random directions, with lengths such that their squares add up to
    those of `weights` (seed, d_out, d_in): as many parts and as much length as the truth has, no relation with it."""
    draw = torch.Generator().manual_seed(104729 * (seed + 1))
    s, d_out, d_in = weights.shape
    u = torch.nn.functional.normalize(torch.randn(s, components, d_out, generator=draw), dim=-1)
    v = torch.nn.functional.normalize(torch.randn(s, components, d_in, generator=draw), dim=-1)
    length = weights.flatten(1).norm(dim=1) / math.sqrt(components)
    return length[:, None, None, None] * u[..., :, None] * v[..., None, :]


def scores(parts: Tensor, weights: Tensor, keep: Tensor | None = None) -> dict[str, Tensor]:
    """How well parts (seed, component, d_out, d_in) are the columns of weights (seed, d_out, d_in). name -> (seed,).

    With P_c,j column j of part c, and W_j that of the target (Braun et al. 2025, arXiv 2501.14926, and section 3 of SPD):
    mmcs   = mean_j max_c cos(P_c,j, W_j), mean max cosine similarity; the best c of j is c(j)
    ml2r   = mean_j |P_c(j),j| / |W_j|, mean ratio of lengths
    whole  = mean_j max_c <P_c, W_j e_j^T> / (|P_c| |W_j|): the cosine of whole matrices, for which a part must write column j
             and no other. whole <= mmcs, both 1 for the truth.
    whole_ml2r: the mean ratio of lengths |P_c,j| / |W_j| of the best whole parts; ml2r takes any part that points well.
    length_error: mean_j | |P_c,j| / |W_j| - 1 | of the best whole parts, in which long and short do not cancel.
    Columns of length 0 are left out. keep (seed, component), bool: parts that count. What an SAE writes for one feature at a
    time can be scored by the same rule, part c being (latent c of feature j) times its decoder row, for all j.

    Null: `random_parts`, and decompositions without minimality. Misleads: mmcs is blind to what a part writes besides, so many
    parts in few dimensions score near 1 by chance (20 in a plane: .99); ml2r then takes the length of a chance part.
    """
    if parts.ndim != 4 or weights.ndim != 3 or parts.shape[0] != weights.shape[0] or parts.shape[2:] != weights.shape[1:]:
        raise UserError(
            f"parts {tuple(parts.shape)} and weights {tuple(weights.shape)}: expected (seed, component, d_out, d_in) and "
            "(seed, d_out, d_in)"
        )
    if not (bool(torch.isfinite(parts).all()) and bool(torch.isfinite(weights).all())):
        raise UserError("parts or weights hold values that are not finite: look at the training first")
    if keep is not None:
        parts = parts * keep[..., None, None].to(parts.dtype)
    parts, weights = parts.double(), weights.double()
    there = weights.norm(dim=1)  # (seed, feature)
    real = there > 1e-6 * there.amax(1, keepdim=True).clamp_min(1e-30)
    count = real.sum(1).clamp_min(1)
    inner = torch.einsum("scoj,soj->scj", parts, weights)
    long = parts.norm(dim=2)  # (seed, component, feature)
    column = inner / (long * there[:, None]).clamp_min(1e-30)
    total = inner / (parts.flatten(2).norm(dim=2)[..., None] * there[:, None]).clamp_min(1e-30)
    ratio = long / there[:, None].clamp_min(1e-30)

    def mean(value: Tensor) -> Tensor:
        return torch.where(real, value, 0).sum(1) / count

    best, whole = column.max(1), total.max(1)
    of_whole = ratio.gather(1, whole.indices[:, None])[:, 0]
    return {
        "mmcs": mean(best.values),
        "ml2r": mean(ratio.gather(1, best.indices[:, None])[:, 0]),
        "whole": mean(whole.values),
        "whole_ml2r": mean(of_whole),
        "length_error": mean((of_whole - 1).abs()),
    }


# --------------------------------------------------------------------------------------------------------------- training


def _weights(name: str, w: Tensor, seeds: int) -> Tensor:
    if w.ndim == 2:
        w = w.expand(seeds, *w.shape)
    if w.ndim != 3 or len(w) != seeds:
        raise UserError(f"weights {name!r} have shape {tuple(w.shape)}: expected (d_out, d_in), or ({seeds}, d_out, d_in)")
    if not bool(torch.isfinite(w).all()):
        raise UserError(f"weights {name!r} hold values that are not finite")
    if not bool((w.flatten(1).norm(dim=1) > 0).all()):
        raise UserError(f"weights {name!r} are all zero: there is nothing to decompose")
    return w.detach().float().contiguous()


def _spread(x: Tensor, seeds: int) -> Tensor:
    """(seed, sample, n) of inputs (sample, n) or (seed, sample, n)."""
    if x.ndim == 2:
        x = x.expand(seeds, *x.shape)
    if x.ndim != 3 or len(x) != seeds or not x.numel():
        raise UserError(f"inputs have shape {tuple(x.shape)}: expected (sample, n), or ({seeds}, sample, n)")
    if not bool(torch.isfinite(x).all()):
        raise UserError("the inputs hold values that are not finite")
    return x.float()


def _start(
    weights: Mapping[str, Tensor], recipe: Recipe, draws: Sequence[torch.Generator]
) -> tuple[dict[str, Tensor], dict[str, Tensor], Gates]:
    """Random directions of length 1, U scaled by how much of W lies along each part; gates are 0 at 0."""
    U: dict[str, Tensor] = {}
    V: dict[str, Tensor] = {}
    c, h = recipe.components, recipe.hidden

    def normal(*shape: int) -> Tensor:
        return torch.stack([torch.randn(shape, generator=draw) for draw in draws])

    for name, w in weights.items():
        u = torch.nn.functional.normalize(normal(c, w.shape[1]), dim=-1)
        v = torch.nn.functional.normalize(normal(c, w.shape[2]), dim=-1)
        U[name], V[name] = u * torch.einsum("sco,soi,sci->sc", u, w, v)[..., None], v
    all_parts = c * len(weights)
    slope, weight = math.sqrt(2) * normal(all_parts, h), normal(all_parts, h) / math.sqrt(h)
    return U, V, (slope, torch.zeros_like(slope), weight, torch.zeros(len(draws), all_parts))


def _inner(given: Mapping[str, Tensor], V: Mapping[str, Tensor]) -> Tensor:
    """(seed, sample, layer * component) inner activations V_c . a, layers in the order of V."""
    return torch.cat([given[name] @ v.mT for name, v in V.items()], -1)


def _gate(gates: Gates, inner: Tensor) -> Tensor:
    """(seed, sample, layer * component) gates before the sigmoid, of inner activations of that shape."""
    slope, offset, weight, last = (one[:, None] for one in gates)
    hidden = torch.nn.functional.gelu(torch.addcmul(offset, inner[..., None], slope))
    return (hidden * weight).sum(-1) + last


def _masked(U: Tensor, V: Tensor, mask: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda a: ((a @ V.mT) * mask) @ U


def _losses(
    weights: Mapping[str, Tensor], forward: Forward, U: Mapping[str, Tensor], V: Mapping[str, Tensor], gates: Gates, x: Tensor,
    recipe: Recipe, draws: Sequence[torch.Generator], entries: int,
) -> dict[str, Tensor]:  # fmt: skip
    """Loss -> (seed,), by the names of their coefficients."""
    with torch.no_grad():
        wanted, given = target(weights, forward, x)
    raw = _gate(gates, _inner(given, V))
    lower = torch.where(raw < 0, LEAK * raw, raw.clamp(max=1))
    upper = torch.where(raw > 1, 1 + LEAK * (raw - 1), raw.clamp(min=0))
    u = torch.stack([torch.rand((2, *raw.shape[1:]), generator=draw) for draw in draws], 1)
    kinds = dict(zip(weights, (lower + (1 - lower) * u).split(recipe.components, -1), strict=True))  # (2, ...): two draws

    def whole(name: str) -> Callable[[Tensor], Tensor]:
        return lambda a: a @ weights[name].mT

    def error(masked: Mapping[str, Tensor]) -> Tensor:
        apply = {name: _masked(U[name], V[name], masked[name]) if name in masked else whole(name) for name in weights}
        return (forward(apply, x) - wanted).square().mean((1, 2))

    nothing = torch.zeros(len(x))
    off = torch.stack([(w - U[name].mT @ V[name]).square().sum((1, 2)) for name, w in weights.items()]).sum(0) / entries
    one_by_one = [error({name: masks[1]}) for name, masks in kinds.items()] if recipe.layerwise else [nothing]
    return {
        "faithfulness": off,
        "stochastic": error({name: masks[0] for name, masks in kinds.items()}) if recipe.stochastic else nothing,
        "layerwise": torch.stack(one_by_one).sum(0) / len(weights),
        "minimality": _power(upper, recipe.p).sum(2).mean(1),
    }


def _total(terms: Mapping[str, Tensor], recipe: Recipe, price: Tensor) -> Tensor:
    """(seed,) weighted sum of the losses."""
    weights = {"faithfulness": recipe.faithfulness, "stochastic": recipe.stochastic, "layerwise": recipe.layerwise}
    return torch.stack([weight * terms[name] for name, weight in weights.items()]).sum(0) + price * terms["minimality"]


def _power(g: Tensor, p: float) -> Tensor:
    """g^p for g >= 0; below p = 1 a small offset keeps the gradient at 0 finite."""
    return g if p == 1 else g.square() if p == 2 else (g + 1e-12) ** p
