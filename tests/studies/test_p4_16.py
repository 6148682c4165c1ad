"""4.16: inputs and marginals, planted decoders, the twin of the training loop, and the contract on a small run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from superscope import studies
from superscope.measure import moment_curve
from superscope.recover import nnls, subset_search
from superscope.studies import p4_16_simultaneous_interference as study
from superscope.toys import pair_codes

TINY = {"n": 7, "width": 8, "layers": 2, "steps": 20, "tied_steps": 100, "restarts": 2, "seeds": 5}


def test_every_pair_is_on_and_marginals_match():
    x = pair_codes.all_sets_on(6, 2, 10, 0)
    assert ((x > 0).sum(-1) == 2).all()
    assert ((x > 0).any(1).sum(0) == 5).all()
    rng = np.random.default_rng(0)
    on = study.TogetherOrNone(tuple(range(6))).draw(rng, np.zeros(6), 40_000)
    assert set(np.unique(on.sum(1))) == {0, 2}
    assert on.mean(0) == pytest.approx(np.full(6, 1 / 6), abs=0.01)


def test_explained_of_planted_decoders():
    x = pair_codes.all_sets_on(9, 2, 6, 1)
    W = moment_curve(9, 4)
    assert study.explained(nnls(W, x.reshape(-1, 9) @ W.T).reshape(x.shape), x) > 0.999
    assert study.explained(np.broadcast_to(x.mean((0, 1)), x.shape), x) == pytest.approx(0)
    assert study.explained(study.tied(np.eye(9), np.zeros(9), x), x) == pytest.approx(1)


def test_antipodal_pairs_cost_what_theory_says():
    x = pair_codes.all_sets_on(2, 2, 200_000, 2)  # two features in one dimension: E min(x, y)^2 = 1/6 on each output
    y = study.tied(np.array([[1.0, -1.0]]), np.zeros(2), x)
    assert ((y - x) ** 2).mean() == pytest.approx(1 / 6, abs=2e-3)


def test_contract_on_a_small_run(tmp_path: Path):
    found = studies.get("4.16").run(out=tmp_path, quiet=True, **TINY)
    assert [c.id for c in found.claims][:3] == ["mlp", "tied-breaks", "depth"]
    assert not found.gate.passed  # 20 steps teach nothing
    codes = found.tables["codes"].set_index("code")
    assert codes.NNLS["moment curve"] > 0.99
    assert codes.search.min() > 0.9


def test_plants_pass_and_nulls_fail_without_much_training(tmp_path: Path):
    """What is true by construction is measured as true, whatever the networks learned."""
    found = studies.get("4.16").run(out=tmp_path, quiet=True, **TINY)
    table = found.tables["arms"]

    def values(arm: str, column: str):
        return table[table.arm == arm][column].dropna()

    assert values("search with errors of 2 %", "below search").min() > -0.01
    assert values("tied ReLU", "below search").max() < -0.02
    assert values("noisy moment curve", "faces").min() > 0.9 > values("Gaussian", "faces").mean()
    assert values("learned, read by search", "R2").min() > 0.9
    assert (values("apart", "R2").to_numpy() - values("apart, two on", "R2").to_numpy()).min() > 0.1


def test_sets_of_features_are_drawn_alike():
    x = pair_codes.random_sets_on(6, (1, 3), 6000, np.random.default_rng(0))
    on = (x > 0).sum(1)
    assert set(on) == {1, 3}
    assert (on == 1).mean() == pytest.approx(0.5, abs=0.03)
    assert (x > 0).mean(0) == pytest.approx(np.full(6, 1 / 3), abs=0.03)


def test_whose_answers_tells_search_from_least_squares_and_from_the_truth():
    config = study.Config(n=8, seeds=2)
    x, W = study.triples(config, 0), moment_curve(8, 4)
    search, least = subset_search(W, x @ W.T, 2), nnls(W, x @ W.T)
    rng = np.random.default_rng(0)
    for said, most in ((search, "as search"), (least, "as NNLS"), (x, "as truth")):
        found = study.whose([said + 0.02 * rng.standard_normal(x.shape)], [search], [least], x)
        values = {name: found[name][0] for name in ("as search", "as NNLS", "as truth")}
        assert max(values, key=values.get) == most
        assert values[most] > 0.9
    assert study.whose([search], [search], [least], x)["search rather than NNLS"][0] > 0.2
    assert study.whose([least], [search], [least], x)["search rather than NNLS"][0] < 0


def test_a_reader_trained_on_easy_codes_reads_them():
    """As many dimensions as features: a linear map is enough."""
    start = np.eye(4)[None].repeat(2, 0)
    readers = pair_codes.train(start, 1, [32], [0, 1], (2,), 400, 1e-2, 64)
    x = pair_codes.all_sets_on(4, 2, 20, 5)
    assert readers(x).shape == (2, 6, 20, 4)
    assert min(study.explained(y, x) for y in readers(x)) > 0.9
    assert (readers.W[1] == torch.eye(4)).all()  # the second code was not trained
    assert not (readers.W[0] == torch.eye(4)).all()
