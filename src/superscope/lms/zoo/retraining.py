"""Training the one MLP of a bundled one-layer model again, all else frozen: widened, split, or made anew.

`RETRAINED` is the table of what is bundled under ``models/retrained/BASE/ARM/``; `load` gives it as a `LanguageModel`, `make`
trains it again (resumable, killed or not, to the bit). The frozen part runs once a batch without gradients. Batches are keyed
by (seed, step) alone: all arms of a seed read the same rows in the same order.

AdamW without weight decay or clipping and with next to no epsilon is blind to the size of gradients, and the learning rate of
W_out is divided by what W_out was divided by: copies without noise then follow the un-widened training exactly (a test), and
what copies with noise do otherwise is due to their noise.
"""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 (the usual name)
from torch import Tensor

from superscope import checkpoint, opened, store
from superscope.lms import corpus
from superscope.lms.corpus.splits import Split
from superscope.lms.model import backend, language_model
from superscope.lms.model.language_model import LanguageModel
from superscope.lms.model.transformer import Shape, Transformer
from superscope.lms.shelf import ModelError, models_folder
from superscope.lms.zoo import retraining_starts as starts
from superscope.lms.zoo import training
from superscope.lms.zoo.retraining_starts import Constraint, TrainedMLP, Weights

FOLDER = "retrained"
SEEDS = (0, 1, 2)
PART = 1024  # tokens that go through the MLP and the unembedding at once
ROWS = 150  # rows of validation text on which a card's losses are measured
Variant = Literal["unwidened", "copies", "random", "aligned", "dense", "frozen", "sparse", "experts"]
ANEW: tuple[Variant, ...] = ("dense", "frozen", "sparse", "experts")
"""Variants that start from a fresh MLP, as wide as the base's."""


@dataclass(frozen=True)
class Retraining:
    """A retraining. `rows` x n_ctx tokens a step, `tokens` in all (rounded down to whole steps).

    variant: "unwidened" goes on training the MLP as it is; "copies" makes `r` of every neuron, with noise `sigma` (of the root
    mean square of a neuron's input weights); "random" and "aligned" split its input weights among r children; "dense",
    "frozen" (W_in stays random), "sparse" (a share `kept` of each matrix is left) and "experts" (`chosen` of `experts` a token)
    start from a fresh MLP. balance: weight of the experts' loss of balance. lr: linear warm-up over a twentieth, cosine to 0.
    """

    base: str
    variant: Variant
    r: int = 1
    sigma: float = 0.0
    tokens: int = 1_000_000
    rows: int = 4
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.99)
    seed: int = 0
    kept: float = 0.01
    experts: int = 25
    chosen: int = 2
    balance: float = 0.01

    def __post_init__(self) -> None:
        if self.variant not in Variant.__args__:  # type: ignore[attr-defined]
            raise ModelError(f"no variant {self.variant!r}: expected one of {', '.join(Variant.__args__)}")  # type: ignore[attr-defined]
        widened = self.variant in ("copies", "random", "aligned")
        if widened and self.r < 2:
            raise ModelError(f"{self.variant} of r={self.r}: a neuron needs at least two children")
        if not widened and self.r != 1:
            raise ModelError(f"r={self.r} means nothing for {self.variant}: it is for copies and partitions")
        if self.variant == "aligned" and self.r != 2:
            raise ModelError(f"aligned partition of r={self.r}: it follows two concepts a neuron, so r is 2")
        if self.sigma < 0 or (self.sigma and self.variant != "copies"):
            raise ModelError(f"sigma={self.sigma:g} for {self.variant}: noise is for copies, and not negative")
        if not 0 < self.kept <= 1 or not 1 <= self.chosen <= self.experts:
            raise ModelError(f"kept={self.kept:g}, chosen={self.chosen} of {self.experts} experts: out of range")
        if self.tokens <= 0 or self.rows <= 0 or not 0 < self.lr < 1:
            raise ModelError(f"tokens={self.tokens}, rows={self.rows}, lr={self.lr:g}: all above 0, and lr below 1")

    def steps(self, n_ctx: int) -> int:
        return max(1, self.tokens // (self.rows * n_ctx))

    def rate(self, step: int, steps: int) -> float:
        """Learning rate at `step`."""
        warmup = max(1, steps // 20)
        if step < warmup:
            return self.lr * (step + 1) / warmup
        return self.lr / 2 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _table() -> dict[str, Retraining]:
    out: dict[str, Retraining] = {}
    for seed in SEEDS:
        tail = f"-s{seed}" if seed else ""
        narrow, wide = f"gelu-1l-mini{tail}", f"gelu-1l-wide100{tail}"
        plain = Retraining(narrow, "unwidened", seed=seed)
        out[f"{narrow}/unwidened"] = plain
        copied = dataclasses.replace(plain, variant="copies", r=2, sigma=1e-2)
        out[f"{narrow}/copies-2"] = copied
        out[f"{narrow}/copies-10"] = dataclasses.replace(copied, r=10)
        out[f"{narrow}/copies-10-loud"] = dataclasses.replace(copied, r=10, sigma=1e-1)
        out[f"{narrow}/copies-2-faint"] = dataclasses.replace(copied, sigma=1e-3)
        out[f"{narrow}/copies-2-loud"] = dataclasses.replace(copied, sigma=1e-1)
        out[f"{narrow}/random-2"] = dataclasses.replace(plain, variant="random", r=2)
        out[f"{narrow}/aligned-2"] = dataclasses.replace(plain, variant="aligned", r=2)
        out[f"{narrow}/unwidened-again"] = dataclasses.replace(plain, seed=seed + 10)  # other batches: what chance is worth
        out[f"{narrow}/unwidened-long"] = dataclasses.replace(plain, tokens=10_000_000)
        out[f"{narrow}/copies-2-long"] = dataclasses.replace(copied, sigma=1e-1, tokens=10_000_000)
        for variant in ANEW:
            out[f"{wide}/{variant}"] = Retraining(wide, variant, tokens=500_000, rows=2, seed=seed)
        four = f"gelu-1l-wide4{tail}"
        out[f"{four}/dense"] = Retraining(four, "dense", tokens=500_000, rows=2, seed=seed)
    return out


RETRAINED = _table()

# ------------------------------------------------------------------------------------------------------------- the start


def start(recipe: Retraining, base: LanguageModel, means: np.ndarray | None = None) -> tuple[Weights, Constraint]:
    """The MLP that a retraining starts from, and what it must keep. Random numbers are keyed by the recipe's seed.

    means: (neuron, 2, d_model) mean input on each neuron's two concepts, for "aligned" (`lms.reading.concept_inputs`).
    Raises ModelError for a base whose MLP cannot be retrained.
    """
    if base.n_layers != 1 or not base.d_mlp or base.activation not in ("gelu", "relu"):
        raise ModelError(f"{base.name}: only the MLP of a one-layer model with gelu or relu neurons is trained again")
    mlp = base.hooked.blocks[0].mlp
    own = {name: getattr(mlp, name).detach().clone() for name in ("W_in", "b_in", "W_out", "b_out")}
    generator = torch.Generator().manual_seed(recipe.seed * 1_000_003 + 4444)
    d, m = own["W_in"].shape
    if recipe.variant == "unwidened":
        return own, Constraint()
    if recipe.variant == "copies":
        return starts.copies(own, recipe.r, recipe.sigma, generator), Constraint()
    if recipe.variant in ("random", "aligned"):
        if recipe.variant == "aligned":
            if means is None:
                raise ModelError("an aligned partition needs the mean inputs on each neuron's concepts")
            child = starts.aligned_children(own, means, generator)
        else:
            child = starts.random_children(d, m, recipe.r, generator)
        return starts.partition(own, child), Constraint(held=torch.cat([child == k for k in range(recipe.r)], dim=1))
    if recipe.variant == "experts" and m % recipe.experts:
        raise ModelError(f"{m} neurons cannot be shared among {recipe.experts} experts evenly")
    fresh = starts.anew(d, m, mean_output(base), generator, recipe.experts if recipe.variant == "experts" else 0)
    return fresh, {
        "dense": Constraint(),
        "frozen": Constraint(frozen=("W_in",)),
        "sparse": Constraint(kept=recipe.kept),
        "experts": Constraint(chosen=recipe.chosen),
    }[recipe.variant]


def mean_output(base: LanguageModel) -> Tensor:
    """(d_model,) of the one MLP, over 32 rows of the shipped text."""
    rows, hook = corpus.sample(base.tokenizer).rows(base.n_ctx, limit=32, seed=0), "blocks.0.hook_mlp_out"
    return base.activations(language_model.rows_to_tensor(rows.tokens), [hook])[hook].mean(dim=(0, 1))


def with_mlp(base: LanguageModel, weights: Mapping[str, Tensor], name: str, chosen: int = 0,
             card: Mapping[str, Any] | None = None, origin: str = "retrained") -> LanguageModel:  # fmt: skip
    """The base model with another MLP, for all tools. Of experts, the neurons of those not chosen are zero, and the others'
    activations are multiplied by their gate: what W_out reads, at `neuron_hook`."""
    config: Any = base.hooked.cfg
    fields = {key: getattr(config, key) for key in ("n_layers", "d_model", "n_heads", "n_ctx", "d_vocab")}
    shape = Shape(**fields, d_mlp=weights["W_in"].shape[1], act_fn=config.act_fn,
                  positions=config.positional_embedding_type)  # fmt: skip
    state = {key: value.detach() for key, value in base.hooked.named_parameters()}
    state |= {f"blocks.0.mlp.{key}": value for key, value in weights.items() if key != "router"}
    hooked = backend.from_shape(shape, state)
    if chosen:
        _gate(hooked, weights["router"].float(), chosen)
    facts = {**(card or {}), "shape": asdict(shape), "init_seed": base.card.get("init_seed", 0)}
    return LanguageModel(name, hooked, base.tokenizer, facts, origin)


def _gate(hooked: Any, router: Tensor, chosen: int) -> None:
    """Permanent hooks that multiply the neurons' activations by their experts' gates."""
    block, seen = hooked.blocks[0], {}

    def read(value: Tensor, hook: Any) -> None:
        seen["gate"] = starts.gate_of_neurons(value * block.ln2.w + block.ln2.b, router, chosen, block.mlp.W_in.shape[1])

    def apply(value: Tensor, hook: Any) -> Tensor:
        return value * seen["gate"]

    hooked.add_perma_hook("blocks.0.ln2.hook_normalized", read)
    hooked.add_perma_hook("blocks.0.mlp.hook_post", apply)


# ---------------------------------------------------------------------------------------------------------- the training


class _Nats(torch.autograd.Function):
    """Sum of the nats of the targets under a frozen unembedding; the gradient is made with the loss, in one pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, W_U: Tensor, b_U: Tensor, targets: Tensor) -> Tensor:
        shares = torch.softmax(torch.addmm(b_U, x, W_U).float(), dim=-1)
        at = targets[:, None]
        own = shares.gather(1, at)
        shares.scatter_add_(1, at, torch.full_like(own, -1.0))
        ctx.save_for_backward((shares.to(W_U.dtype) @ W_U.T).float())
        return -own.clamp_min(1e-37).log().sum()

    @staticmethod
    def backward(ctx: Any, *grad: Tensor) -> tuple[Tensor, None, None, None]:
        return grad[0] * ctx.saved_tensors[0], None, None, None


class Frozen:
    """The model around its one MLP: `before` gives what the MLP adds to and what it reads, `nats` what comes after it."""

    def __init__(self, base: LanguageModel) -> None:
        self.model = Transformer(Shape(**base.card["shape"]))
        self.model.load_state_dict(dict(base.hooked.named_parameters()))
        self.model.requires_grad_(False)
        self.block: Any = self.model.blocks[0]
        self.W_U = self.model.unembed.W_U.detach().contiguous()

    @torch.no_grad()
    def before(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The stream before the MLP and its LayerNorm, both (token, d_model), of tokens (row, position)."""
        where = self.model.pos_embed.W_pos[: tokens.shape[1]]
        x = F.embedding(tokens, self.model.embed.W_E)
        short = self.model.shape.positions == "shortformer"
        x = x if short else x + where
        x = x + self.block.attn(self.block.ln1(x), where if short else None)
        return x.flatten(0, 1), self.block.ln2(x).flatten(0, 1)

    def nats(self, stream: Tensor, targets: Tensor) -> Tensor:
        """Sum over tokens of the loss in nats. stream: (token, d_model) after the MLP; targets: (token,)."""
        x = self.model.ln_final(stream)
        out: Tensor = _Nats.apply(x, self.W_U, self.model.unembed.b_U, targets)
        return out

    @torch.no_grad()
    def loss(self, mlp: TrainedMLP, rows: np.ndarray) -> float:
        """Nats per predicted token of rows (row, position) of ids."""
        total = 0.0
        for part in np.array_split(rows, max(1, len(rows) // 8)):
            tokens = language_model.rows_to_tensor(part)
            stream, read = self.before(tokens[:, :-1])
            total += float(self.nats(stream + mlp(read)[0], tokens[:, 1:].flatten()))
        return total / (rows.shape[0] * (rows.shape[1] - 1))


@dataclass
class State:
    """Where a retraining stands. losses: (step, nats per token of that batch)."""

    step: int = 0
    seconds: float = 0.0
    losses: list[tuple[int, float]] = field(default_factory=list)


def train(
    recipe: Retraining,
    base: LanguageModel,
    tokens: np.ndarray,
    folder: Path | str,
    *,
    data: str = "",
    means: np.ndarray | None = None,
    autocast: bool | None = None,
    every_seconds: float = 60.0,
    say: Callable[[str], None] = lambda text: None,
    stop_after: int | None = None,
) -> tuple[TrainedMLP, State]:
    """Retrain, or go on with the retraining kept in `folder`.

    tokens: the text's ids. data: names the text and the base by digests, so that a folder never goes on with others.
    autocast: compute in bf16; None does so where the CPU has AVX512. A checkpoint is written every `every_seconds`;
    `stop_after` ends early, after one. Raises ModelError when the folder holds another retraining or a damaged one, CorpusError
    for too little text.
    """
    file = Path(folder) / training.CHECKPOINT
    if means is not None:
        data += f" {store.checksum(np.ascontiguousarray(means).tobytes())}"
    weights, constraint = start(recipe, base, means)
    frozen = Frozen(base)
    shape = frozen.model.shape
    batches = training.Batches(tokens, shape, training.Recipe(rows=recipe.rows, seed=1000 + recipe.seed), base.tokenizer.bos)
    mlp = TrainedMLP(weights, shape.act_fn, constraint)
    optimiser = _optimiser(mlp, recipe)
    identity = json.loads(json.dumps({"recipe": asdict(recipe), "data": data}))
    state = State()
    if file.exists():
        state = _restore(file, identity, mlp, optimiser)
    steps = recipe.steps(shape.n_ctx)
    if autocast is None:
        autocast = torch.backends.cpu.get_cpu_capability().startswith("AVX512")
    began = saved = time.monotonic()
    first = state.step
    while state.step < steps:
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate(state.step, steps) * group["share"]
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            value = _step(frozen, mlp, batches(state.step)[0], recipe.balance)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        state.step += 1
        mlp.project(state.step / steps)
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value} at step {state.step}: lower the learning rate ({recipe.lr:g})")
        if state.step % 10 == 0 or state.step in (1, steps):
            state.losses.append((state.step, round(value, 5)))
        now = time.monotonic()
        if now - saved > every_seconds or state.step == steps or state.step - first == stop_after:
            state.seconds += now - saved
            saved = now
            _checkpoint(file, identity, mlp, optimiser, state)
            left = (steps - state.step) * (now - began) / (state.step - first)
            say(f"step {state.step}/{steps}, loss {value:.3f}, about {left / 60:.0f} min left")
        if state.step - first == stop_after:
            break
    return mlp, state


def _step(frozen: Frozen, mlp: TrainedMLP, x: Tensor, balance: float) -> float:
    """Gradients of one batch (row, n_ctx + 1), part by part; the mean loss."""
    stream, read = frozen.before(x[:, :-1])
    targets, total = x[:, 1:].flatten(), 0.0
    for some in torch.arange(len(stream)).split(PART):
        part = slice(int(some[0]), int(some[-1]) + 1)
        added, uneven = mlp(read[part])
        loss = frozen.nats(stream[part] + added.float(), targets[part]) / len(stream)
        total += float(loss.detach())
        if uneven is not None:
            loss = loss + balance * uneven * (len(some) / len(stream))
        loss.backward()
    return total


def _optimiser(mlp: TrainedMLP, recipe: Retraining) -> torch.optim.AdamW:
    """Adam; the share of the learning rate of copies' W_out is one over their number."""
    groups = []
    for name, parameter in mlp.named_parameters():
        if parameter.requires_grad:
            share = 1 / recipe.r if name == "W_out" and recipe.variant == "copies" else 1.0
            groups.append({"params": [parameter], "share": share})
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=recipe.betas, eps=1e-15, weight_decay=0.0, fused=True)


def _checkpoint(
    file: Path, identity: dict[str, Any], mlp: TrainedMLP, optimiser: torch.optim.AdamW, state: State
) -> None:  # fmt: skip
    tensors = {f"mlp.{name}": value for name, value in mlp.weights().items()}
    for name, parameter in mlp.named_parameters():
        for key, value in optimiser.state.get(parameter, {}).items():
            tensors[f"optimiser.{name}.{key}"] = value
    checkpoint.write(file, {"identity": identity, "state": asdict(state)}, tensors)


def _restore(file: Path, identity: dict[str, Any], mlp: TrainedMLP, optimiser: torch.optim.AdamW) -> State:
    try:
        document, kept = checkpoint.read(file)
    except store.StoreError as error:
        raise ModelError(f"{error}: remove it to train from the start") from None
    if document["identity"] != identity:
        raise ModelError(f"{file.parent} holds another retraining, base or corpus: choose another folder or remove it")
    mlp.load_state_dict({name.removeprefix("mlp."): v for name, v in kept.items() if name.startswith("mlp.")})
    for name, parameter in mlp.named_parameters():
        prefix = f"optimiser.{name}."
        if found := {key.removeprefix(prefix): v for key, v in kept.items() if key.startswith(prefix)}:
            optimiser.state[parameter] = found
    state = State(**document["state"])
    state.losses = [(int(a), float(b)) for a, b in state.losses]
    return state


# ------------------------------------------------------------------------------------------------------------ the bundle


def make(
    name: str, corpus_folder: Path, out: Path, say: Callable[[str], None] = lambda text: None,
    align: Callable[[LanguageModel], np.ndarray] | None = None,
) -> Path:  # fmt: skip
    """Train an entry of `RETRAINED` from a built corpus (resumable, in ``out/training/NAME/``); write it to ``out/NAME/``.

    align: gives the mean inputs of `start` for a base. Raises ModelError or CorpusError with what to do.
    """
    recipe, folder = RETRAINED[name], out / "training" / name
    base = language_model.load(recipe.base)
    tokens = corpus.cached_tokens(corpus_folder, base.tokenizer, without=("ioi",))
    data = f"{corpus.read_manifest(corpus_folder)['files']['train']['sha256']} {base.tokenizer.digest} {base.card['sha256']}"
    means = align(base) if align is not None and recipe.variant == "aligned" else None
    mlp, state = train(recipe, base, tokens, folder, data=data, means=means, say=say)
    bundle(name, recipe, base, mlp, state, corpus.load(corpus_folder, base.tokenizer), data, means, out)
    return out / name


def bundle(
    name: str, recipe: Retraining, base: LanguageModel, mlp: TrainedMLP, state: State, text: Split, data: str,
    means: np.ndarray | None, out: Path,
) -> dict[str, Any]:  # fmt: skip
    """Write ``out/NAME/``: the MLP's tensors, packed (what stays random is left out), and config.json with its losses."""
    import safetensors.torch

    frozen, weights = Frozen(base), mlp.weights()
    first, constraint = start(recipe, base, means)
    kept = {key: value for key, value in weights.items() if key not in constraint.frozen}
    packed = _packed(kept, recipe.r if recipe.variant == "copies" else 1)
    act = frozen.model.shape.act_fn
    rounded = TrainedMLP(weights | _unpacked(packed), act, constraint)
    rows = text.rows(base.n_ctx, limit=ROWS, seed=3).tokens
    own, _ = start(dataclasses.replace(recipe, variant="unwidened", r=1, sigma=0.0), base)
    data_file = safetensors.torch.save(packed)
    steps = recipe.steps(base.n_ctx)
    loss = frozen.loss(rounded, rows)
    facts: dict[str, Any] = {
        "name": name,
        "base_sha256": base.card["sha256"],
        "recipe": asdict(recipe),
        "tokens": steps * recipe.rows * base.n_ctx,
        "data": data,
        "device": f"{platform.machine()}, torch {torch.__version__}",
        "seconds": round(state.seconds),
        "loss": round(loss, 4),
        "loss_start": round(frozen.loss(TrainedMLP(first, act, constraint), rows), 4),
        "loss_base": round(frozen.loss(TrainedMLP(own, act, Constraint()), rows), 4),
        "loss_on": {"rows": len(rows), "sha256": store.checksum(rows.tobytes())},
        "rounding_cost": round(loss - frozen.loss(mlp, rows), 5),
        "history": state.losses[:: max(1, len(state.losses) // 50)],
        "sha256": store.checksum(data_file),
    }
    if constraint.frozen:
        facts["frozen_sha256"] = _checksum(first["W_in"])
    files = {f"{name}/model.safetensors": data_file, f"{name}/config.json": store.dumps(facts).encode()}
    store.atomic_write_many(out, files)
    return facts


def _packed(weights: Mapping[str, Tensor], r: int = 1) -> dict[str, Tensor]:
    """fp16. A matrix of which a quarter or more is zero becomes a bit a place (`NAME.held`) and what is not zero
    (`NAME.value`). Of many copies the mean is kept, and the differences of each from it, in 255 steps a neuron
    (`NAME.mean`, `NAME.step`, `NAME.off`)."""
    out: dict[str, Tensor] = {}
    for name, value in weights.items():
        held = value != 0
        if name in starts.MATRICES and r > 4:
            family = (value if name == "W_in" else value.T).unflatten(1, (r, -1))  # (d, clone, neuron)
            mean = family.mean(dim=1).half()
            off = family - mean[:, None].float()
            step = (off.abs().amax(dim=0) / 127).clamp_min(1e-7).half()
            out |= {
                f"{name}.mean": mean,
                f"{name}.step": step,
                f"{name}.off": (off / step.float()).round().clamp(-127, 127).char(),
            }
        elif name in starts.MATRICES and float(held.float().mean()) <= 0.75:
            out[f"{name}.held"] = torch.from_numpy(np.packbits(held.numpy().ravel()))
            out[f"{name}.value"] = value[held].half()
            out[f"{name}.shape"] = torch.tensor(value.shape)
        else:
            out[name] = value.half()
    return {name: value.contiguous() for name, value in out.items()}


def _unpacked(packed: Mapping[str, Tensor]) -> Weights:
    """The float32 weights that `_packed` wrote."""
    out = {name: value.float() for name, value in packed.items() if "." not in name}
    for name in {key.split(".")[0] for key in packed if "." in key}:
        part = {key.split(".")[1]: value for key, value in packed.items() if key.startswith(f"{name}.")}
        if "mean" in part:
            both = (part["mean"].float()[:, None] + part["off"].float() * part["step"].float()).flatten(1)
            out[name] = both if name == "W_in" else both.T.contiguous()
            continue
        shape = part["shape"].tolist()
        held = np.unpackbits(part["held"].numpy(), count=math.prod(shape)).astype(bool).reshape(shape)
        out[name] = torch.zeros(shape)
        out[name][torch.from_numpy(held)] = part["value"].float()
    return out


def _checksum(value: Tensor) -> str:
    return store.checksum(value.contiguous().numpy().tobytes())


def bundled() -> list[str]:
    """Names of the retrained models that are there, "BASE/ARM"."""
    root = models_folder() / FOLDER
    return sorted(path.parent.relative_to(root).as_posix() for path in root.glob("*/*/config.json"))


def card(name: str, folder: Path | None = None) -> dict[str, Any]:
    """What is known of a retrained model; ModelError when there is none of that name."""
    path = (models_folder() / FOLDER if folder is None else folder) / name / "config.json"
    if not path.is_file():
        again = f"superscope zoo --train {FOLDER}/{name} --corpus FOLDER" if name in RETRAINED else "see `retraining.RETRAINED`"
        raise ModelError(f"no retrained model {name!r} here: {again}")
    return dict(store.read_json(path))


def load(name: str, folder: Path | None = None) -> LanguageModel:
    """A retrained model, "BASE/ARM", with its card; from `folder` or the bundled ones.

    Raises ModelError when it is not there, its weights are not those of its card, or the base is another one.
    """
    import safetensors.torch

    facts = card(name, folder)
    place = (models_folder() / FOLDER if folder is None else folder) / name
    data = (place / "model.safetensors").read_bytes()
    if store.checksum(data) != facts["sha256"]:
        raise ModelError(f"{place} is damaged: its sha256 is not the one in config.json; fetch it again")
    recipe = Retraining(**{**facts["recipe"], "betas": tuple(facts["recipe"]["betas"])})
    base = language_model.load(recipe.base)
    if base.card["sha256"] != facts["base_sha256"]:
        raise ModelError(
            f"{name} was made from another {recipe.base}: make it again with superscope zoo --train {FOLDER}/{name}"
        )
    opened.note("model", str(place), language_model.digest(str(place)))
    weights = _unpacked(safetensors.torch.load(data))
    if recipe.variant == "frozen":
        weights["W_in"] = start(recipe, base)[0]["W_in"]
        if _checksum(weights["W_in"]) != facts["frozen_sha256"]:
            raise ModelError(f"this torch draws other random weights than {name} was trained with: make it again")
    return with_mlp(base, weights, name, recipe.chosen if recipe.variant == "experts" else 0, facts)
