"""Both engines against a slow, obvious autograd loop: same initial weights and same samples give the same weights."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch

import superscope as ss
from superscope.sweep.engines import fused
from superscope.sweep.points import stream
from superscope.sweep.unit import importance_per_output, make_trainer, train_unit

STEPS = 100


def slow_loop(toy: ss.TwoLayer, instance, recipe: ss.Recipe) -> dict[str, np.ndarray]:
    """Autograd and torch.optim (AdamW or SGD), one network, one step at a time: what the engines must agree with."""
    start = toy.initial(instance.generator(0, "init"))
    params = {k: torch.tensor(v, requires_grad=True) for k, v in start.items()}
    betas = (recipe.beta1, recipe.beta2)
    optimizer = torch.optim.AdamW(params.values(), lr=recipe.lr, betas=betas, eps=recipe.eps, weight_decay=recipe.weight_decay)
    if recipe.optimizer == "sgd":
        optimizer = torch.optim.SGD(params.values(), lr=recipe.lr)
    rates = recipe.learning_rates()
    importance = torch.tensor(importance_per_output(instance), dtype=torch.float32)
    for block in stream([instance], recipe):
        for t in range(block.steps):
            x, target = (torch.tensor(a[t] if recipe.shared else a[t][0]) for a in (block.x, block.target))
            h = toy.hidden(params, x)
            if block.keep is not None:
                h = h * torch.tensor(block.keep[t, 0]) / (1 - toy.dropout)
            y = toy.decode(params, h)
            weight = torch.tensor(block.weight)[:, None]
            loss = (weight * importance * (y - target) ** 2).sum() + recipe.l1 * (weight * h.abs()).sum()
            optimizer.param_groups[0]["lr"] = rates[block.start + t]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return {k: v.detach().numpy() for k, v in params.items()}


def engine_params(toy, inputs, recipe, engine, seeds=3):
    instances = ss.Sweep(toy, inputs, seeds=seeds).instances()
    importance = np.stack([importance_per_output(i) for i in instances])
    trainer = make_trainer(toy, instances, importance, recipe, engine, "cpu")
    for block in stream(instances, recipe):
        trainer.run(block)
    return instances, trainer


def options() -> Iterator[tuple[str, ss.TwoLayer]]:
    smooth = ("gelu", "silu", "softplus", "tanh")
    base = {"n_features": 6, "n_hidden": 3}
    for tied, hidden_bias, output_bias in itertools.product((True, False), repeat=3):
        toy = ss.TwoLayer(**base, tied=tied, hidden_bias=hidden_bias, output_bias=output_bias)
        yield f"tied={tied} hidden_bias={hidden_bias} output_bias={output_bias}", toy
    for kind in ("identity", "relu", *smooth):
        yield f"output {kind}", ss.TwoLayer(**base, activation=kind)
        yield f"hidden {kind}", ss.TwoLayer(**base, tied=False, hidden_bias=True, hidden_activation=kind)
    for kind, sharpness in itertools.product(smooth, (0.5, 4.0)):
        yield (
            f"{kind} sharpness {sharpness}",
            ss.TwoLayer(**base, activation=kind, hidden_activation=kind, sharpness=sharpness),
        )
    yield "gelu sharpness inf", ss.TwoLayer(**base, activation="gelu", sharpness=np.inf)
    yield "dropout tied", ss.TwoLayer(**base, dropout=0.3)
    yield "dropout untied", ss.TwoLayer(**base, dropout=0.5, tied=False, hidden_activation="relu", hidden_bias=True)
    yield "absolute value", ss.AbsoluteValue(n_features=6, n_hidden=9)
    yield "pairs", ss.TwoLayer(n_features=6, n_hidden=4, tied=False, target="max", hidden_activation="relu")
    yield (
        "all pairs",
        ss.TwoLayer(n_features=6, n_hidden=4, tied=False, target="and-all-pairs", hidden_activation="relu"),
    )


CASES = dict(options())


@pytest.mark.parametrize("engine", ["fused", "torch"])
@pytest.mark.parametrize("case", CASES)
def test_engine_equals_autograd(case: str, engine: str) -> None:
    toy = CASES[case]
    pairs = toy.n_outputs != toy.n_features
    inputs = ss.SparseFeatures(6, density=0.3, values=ss.SignedUniform() if toy.target == "abs" else ss.Uniform(),
                               importance=1.0 if pairs else (1, 0.9, 0.8, 0.7, 0.6, 0.1))  # fmt: skip
    recipe = ss.Recipe(steps=STEPS, points=32, lr=1e-3)
    instances, trainer = engine_params(toy, inputs, recipe, engine)
    for row, instance in enumerate(instances):
        for name, slow in slow_loop(toy, instance, recipe).items():
            np.testing.assert_allclose(trainer.params[name][row], slow, rtol=1e-4, atol=2e-5, err_msg=name)


@pytest.mark.parametrize("engine", ["fused", "torch"])
def test_weight_decay_warmup_and_linear_schedule_equal_autograd(engine: str) -> None:
    toy, inputs = ss.Bottleneck(6, 3), ss.SparseFeatures(6, density=0.3)
    recipe = ss.Recipe(steps=STEPS, points=32, weight_decay=0.1, warmup=0.2, schedule="linear")
    instances, trainer = engine_params(toy, inputs, recipe, engine)
    slow = slow_loop(toy, instances[1], recipe)
    np.testing.assert_allclose(trainer.params["W"][1], slow["W"], rtol=1e-4, atol=1e-5)
    plain = slow_loop(toy, instances[1], recipe.replace(weight_decay=0.0))
    assert np.abs(plain["W"] - slow["W"]).max() > 1e-3, "weight decay must do something"


def test_own_points_equal_autograd() -> None:
    toy, inputs = ss.Bottleneck(6, 3), ss.SparseFeatures(6, density=0.3)
    recipe = ss.Recipe.faithful(steps=30, points=64)
    instances, trainer = engine_params(toy, inputs, recipe, "torch")
    for row, instance in enumerate(instances):
        np.testing.assert_allclose(trainer.params["W"][row], slow_loop(toy, instance, recipe)["W"], rtol=1e-4, atol=1e-5)


L1_TOYS = {
    "tied": ss.Bottleneck(6, 4, output_bias=False),
    "hidden ReLU": ss.AbsoluteValue(6, 4),
    "tanh and dropout": ss.Bottleneck(6, 4, hidden_activation="tanh", dropout=0.3),
}


@pytest.mark.parametrize("toy", L1_TOYS.values(), ids=L1_TOYS)
@pytest.mark.parametrize("sampling", ["plain", "each"])
@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_sgd_l1_and_full_batch_equal_autograd(toy: ss.TwoLayer, sampling: str, optimizer: str) -> None:
    inputs = ss.SparseFeatures(6, density=0.3, values=ss.SignedUniform() if toy.target == "abs" else ss.Uniform())
    recipe = ss.Recipe(steps=STEPS, lr=0.3 if optimizer == "sgd" else 1e-3, l1=0.05, sampling=sampling, optimizer=optimizer)
    instances, trainer = engine_params(toy, inputs, recipe, "torch")
    without = slow_loop(toy, instances[0], recipe.replace(l1=0.0))
    for row, instance in enumerate(instances):
        for name, slow in slow_loop(toy, instance, recipe).items():
            np.testing.assert_allclose(trainer.params[name][row], slow, rtol=1e-3, atol=1e-4, err_msg=name)
    assert np.abs(trainer.params["W"][0] - without["W"]).max() > 1e-3, "the penalty must do something"


def test_full_batch_sees_every_feature_alone_and_sgd_needs_no_moments() -> None:
    inputs = ss.SparseFeatures(5, density=0.3, values=ss.Constant(1))
    recipe = ss.Recipe(steps=3, sampling="each", optimizer="sgd", lr=0.1)
    instances, _ = engine_params(ss.Bottleneck(5, 2), inputs, recipe, "torch")
    block = next(stream(instances, recipe))
    assert block.x.shape == (3, 5, 5)
    assert (block.x == np.eye(5)).all()
    assert np.allclose(block.weight, 0.2)
    assert np.allclose(recipe.step_schedule()[:, 0], recipe.learning_rates())


def test_modules_take_sgd_and_refuse_l1() -> None:
    toy = ss.ModuleToy(module_twin, {"n": 5, "m": 2})
    sweep = ss.Sweep(toy, ss.SparseFeatures(5, density=0.3), seeds=2)
    family = ss.Sweep(ss.Bottleneck(5, 2), ss.SparseFeatures(5, density=0.3), seeds=2)
    recipe = ss.Recipe(steps=20, optimizer="sgd", lr=0.05)
    start = sweep.train(recipe.replace(steps=0))
    moved = sweep.train(recipe)
    assert float(moved.loss.mean()) < float(start.loss.mean())
    assert family.train(recipe).engine == "torch"  # the kernel is not asked
    with pytest.raises(ValueError, match="two-layer family"):
        sweep.train(recipe.replace(l1=0.1))


@pytest.mark.parametrize("engine", ["fused", "torch"])
def test_engine_loss_equals_forward(engine: str) -> None:
    toy, inputs = ss.AbsoluteValue(5, 8), ss.SparseFeatures(5, density=0.2, values=ss.SignedUniform())
    recipe = ss.Recipe(steps=20, points=32)
    _, trainer = engine_params(toy, inputs, recipe, engine)
    x = inputs.sample(512, seed=1).numpy()
    weight = np.full(512, 1 / 512)
    y = toy.forward({k: torch.tensor(v) for k, v in trainer.params.items()}, torch.tensor(x)).numpy()
    expected = ((y - np.abs(x)) ** 2).mean(1)
    np.testing.assert_allclose(trainer.loss_per_output(x, np.abs(x), weight), expected, rtol=2e-5)


def module_twin(n: int, m: int) -> torch.nn.Module:
    """The ReLU output model as a plain module."""

    class Twin(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.W = torch.nn.Parameter(torch.randn(m, n) * (2 / (n + m)) ** 0.5)
            self.b_out = torch.nn.Parameter(torch.zeros(n))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x @ self.W.T @ self.W + self.b_out)

    return Twin()


def test_modules_under_vmap_reach_the_same_weights_as_the_family() -> None:
    """A module with the family's formula, started at the family's weights, must be trained to the family's weights."""
    inputs, recipe = ss.SparseFeatures(6, density=0.3), ss.Recipe(steps=STEPS, points=32)
    toy = ss.ModuleToy(module_twin, {"n": 6, "m": 3})
    instances = ss.Sweep(toy, inputs, seeds=4).instances()
    trainer = make_trainer(toy, instances, np.ones((4, 6)), recipe, "torch", "cpu")
    _, family = engine_params(ss.Bottleneck(6, 3), inputs, recipe.replace(steps=0), "torch", seeds=4)
    trainer.load(family.params)
    for block in stream(instances, recipe):
        trainer.run(block)
    _, trained = engine_params(ss.Bottleneck(6, 3), inputs, recipe, "torch", seeds=4)
    for name in ("W", "b_out"):
        np.testing.assert_allclose(trainer.params[name], trained.params[name], rtol=1e-4, atol=1e-5)


LONELY = [
    (ss.Bottleneck(20, 5), "fused"),
    (ss.Bottleneck(20, 5), "torch"),
    (ss.Bottleneck(7, 3, activation="gelu", dropout=0.2), "fused"),
    (ss.Bottleneck(7, 3, activation="gelu", dropout=0.2), "torch"),
    (ss.AbsoluteValue(9, 4), "fused"),
    (ss.AbsoluteValue(9, 4), "torch"),
    (ss.ModuleToy(module_twin, {"n": 7, "m": 3}), "torch"),
]


CHECKS = [(toy, engine, shared) for toy, engine in LONELY for shared in (True, False) if shared or engine == "torch"]


@pytest.mark.parametrize(("toy", "engine", "shared"), CHECKS)  # the fused engine trains on shared points only
def test_instance_alone_is_bit_identical(toy: ss.TwoLayer, engine: str, shared: bool) -> None:
    inputs = ss.SparseFeatures(getattr(toy, "n_features", 7), density=0.1)
    recipe = ss.Recipe(steps=70, points=40, shared=shared)
    sweep = ss.Sweep(toy, inputs, over={"density": [0.05, 0.2]}, seeds=23)
    together = train_unit(sweep, recipe, (slice(0, 2), slice(0, 23)), engine)
    for density, seed in ((0, 0), (1, 11), (1, 22)):
        alone = train_unit(sweep, recipe, (slice(density, density + 1), slice(seed, seed + 1)), engine)
        for name in together:
            assert np.array_equal(together[name][density, seed], alone[name][0, 0]), name


def test_fused_and_torch_agree_over_a_whole_training() -> None:
    toy, inputs = ss.Bottleneck(10, 3), ss.SparseFeatures(10, density=0.1)
    runs = [ss.Sweep(toy, inputs, seeds=5).train(ss.Recipe(steps=300), engine=e) for e in ("fused", "torch")]
    np.testing.assert_allclose(runs[0].loss, runs[1].loss, rtol=1e-3)
    assert [r.engine for r in runs] == ["fused", "torch"]


def test_without_a_compiler_torch_is_used_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused, "compiler", lambda: None)
    sweep = ss.Sweep(ss.Bottleneck(5, 2), ss.SparseFeatures(5), seeds=1)
    run = sweep.train(ss.Recipe(steps=5))
    assert run.engine == "torch"
    assert any("no C compiler" in note for note in run.notes)
    with pytest.raises(fused.FusedUnavailableError, match="no C compiler"):
        sweep.train(ss.Recipe(steps=5), engine="fused")


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_the_width_of_a_register_changes_no_bit(monkeypatch: pytest.MonkeyPatch, activation: str) -> None:
    """Every lane computes for itself, so processors with wider registers give the same networks."""
    if not fused.available()[0]:
        pytest.skip("no native kernel here")
    toy, recipe = ss.Bottleneck(6, 2, activation=activation, dropout=0.1), ss.Recipe(steps=30)
    found = []
    for lanes in (4, 8, 16):
        monkeypatch.setattr(fused, "LANES", lanes)
        fused._library.cache_clear()
        _, trainer = engine_params(toy, ss.SparseFeatures(6, density=0.2), recipe, "fused", seeds=19)
        found.append(trainer.params)
    fused._library.cache_clear()
    for other in found[1:]:
        for name, value in found[0].items():
            np.testing.assert_array_equal(other[name], value)
