"""Parameter decomposition: planted parts, nulls, scores by a slow twin, gradients, and what bad input gets."""

from __future__ import annotations

import math

import pytest
import torch

from superscope.errors import UserError
from superscope.recover import spd


def forward(apply, x):
    return torch.relu(apply["out"](apply["in"](x)))


def linear(apply, x):
    return apply["in"](x)


def sparse(n, count=32):
    def draw(step):
        generator = torch.Generator().manual_seed(step + 1000)
        x = torch.rand(3 * count, n, generator=generator) * (torch.rand(3 * count, n, generator=generator) < 0.2)
        return x[(x > 0).any(1)][:count]

    return draw


def polygon(n=5, turn=0.0):
    angle = turn + 2 * math.pi * torch.arange(n) / n
    return 1.1 * torch.stack([angle.cos(), angle.sin()])[None]


ORTHOGONAL = torch.tensor([[1.0, 0, 0], [0, 0.7, 0], [0, 0, 1.2]])
SHORT = spd.Recipe(components=8, hidden=4, steps=1500, lr=2e-2)


@pytest.fixture(scope="module")
def planted():
    turned = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))[0] @ ORTHOGONAL
    return spd.decompose({"in": turned}, linear, sparse(3), SHORT, [3, 4], minimality=[3e-3, 0.0])


def test_orthogonal_columns_of_unequal_length_are_found_and_without_minimality_they_are_not(planted):
    found = spd.scores(planted.parts("in"), planted.weights["in"])
    assert found["whole"][0] > 0.98
    assert found["whole_ml2r"][0] == pytest.approx(1, abs=0.05)
    assert found["whole"][1] < 0.95
    assert planted.unfaithful()["in"].max() < 0.05
    live = planted.live(sparse(3)(-1))["in"].sum(1)
    assert live[0] == 3
    assert live[1] > 3


def test_live_parts_alone_give_the_output(planted):
    x = sparse(3)(-1)
    assert planted.error(x, "alive")[0] < 0.05
    assert planted.error(x, "none").max() < 0.01


def test_importances_are_shares_and_say_which_feature_is_on(planted):
    g = planted.importances(0.75 * torch.eye(3))["in"]
    assert g.shape == (2, 3, 8)
    assert 0 <= g.min() <= g.max() <= 1
    assert ((g[0] > 0.5).sum(1) == 1).all()
    assert len(set(g[0].argmax(1).tolist())) == 3


def test_the_start_finds_nothing_and_runs_are_the_same():
    weights = {"in": polygon()[0], "out": polygon()[0].T.contiguous()}
    start = spd.decompose(weights, forward, sparse(5), spd.Recipe(steps=0), [0])
    assert spd.scores(start.parts("in"), start.weights["in"])["whole"] < 0.9
    a, b = (
        spd.decompose(weights, forward, sparse(5), spd.Recipe(steps=3, hidden=3), seeds).parts("in") for seeds in ([5], [4, 5])
    )
    assert torch.allclose(a[0], b[1], atol=1e-5)


def by_hand(U, V):
    """A decomposition of the pentagon made by hand: gates go from 0 to 1 between inner activations of .03 and .04."""
    gates = tuple(torch.tensor(one).expand(1, 5, 2) for one in ([100.0, 100.0], [-3.0, -4.0], [1.0, -1.0]))
    recipe, price = spd.Recipe(components=5, hidden=2), torch.tensor([3e-3])
    return spd.Decomposition({"in": polygon()}, {"in": U}, {"in": V}, (*gates, torch.zeros(1, 5)), linear, recipe, price)


def test_a_true_decomposition_of_the_pentagon_by_hand_has_less_loss_than_a_merged_one():
    x = torch.cat([sparse(5)(step) for step in range(20)])
    truth = by_hand(polygon().mT.contiguous(), torch.eye(5)[None])
    U, V = polygon().mT.clone(), torch.eye(5)[None].clone()
    U[:, :2], V[:, 0, 1], V[:, 1] = U[:, :2].mean(1, keepdim=True), 1, 0  # two neighbours share a part
    merged = by_hand(U, V)
    assert truth.loss(x) < 0.9 * merged.loss(x)
    assert truth.live(x)["in"].sum() == 5
    assert merged.live(x)["in"].sum() == 4
    assert truth.unfaithful()["in"].item() == truth.error(x, "none").item() == pytest.approx(0, abs=1e-6)
    assert truth.error(x, "alive").item() == pytest.approx(0, abs=0.01)
    assert truth.importances(torch.eye(5))["in"][0] == pytest.approx(torch.eye(5), abs=0.02)


# ----------------------------------------------------------------------------------------------------------------- scores


def columns(W):
    """The true parts: one column each."""
    return torch.stack([torch.einsum("so,i->soi", W[:, :, j], torch.eye(W.shape[2])[j]) for j in range(W.shape[2])], 1)


def test_scores_of_the_truth_and_of_lengths():
    W = polygon() * torch.linspace(0.5, 1.5, 5)
    for factor in (1.0, 0.9):
        found = spd.scores(factor * columns(W), W)
        assert found["mmcs"].item() == found["whole"].item() == pytest.approx(1)
        assert found["ml2r"].item() == found["whole_ml2r"].item() == pytest.approx(factor)
        assert found["length_error"].item() == pytest.approx(1 - factor)
    uneven = columns(W) * torch.tensor([0.5, 1.5, 0.5, 1.5, 1])[None, :, None, None]
    assert spd.scores(uneven, W)["whole_ml2r"].item() == pytest.approx(1)
    assert spd.scores(uneven, W)["length_error"].item() == pytest.approx(0.4)


def test_scores_against_a_slow_twin():
    draw = torch.Generator().manual_seed(1)
    W, parts = torch.randn(2, 3, 4, generator=draw), torch.randn(2, 6, 3, 4, generator=draw)
    found = spd.scores(parts, W)
    cosine = torch.nn.functional.cosine_similarity
    for s in range(2):
        near, length, whole = [], [], []
        for j in range(4):
            angles = [cosine(parts[s, c, :, j], W[s, :, j], dim=0) for c in range(6)]
            best = int(torch.stack(angles).argmax())
            near.append(angles[best])
            length.append(parts[s, best, :, j].norm() / W[s, :, j].norm())
            alone = torch.zeros(3, 4)
            alone[:, j] = W[s, :, j]
            whole.append(max(cosine(parts[s, c].flatten(), alone.flatten(), dim=0) for c in range(6)))
        for name, values in (("mmcs", near), ("ml2r", length), ("whole", whole)):
            assert found[name][s].item() == pytest.approx(torch.stack(values).mean().item(), abs=1e-5)


def test_the_authors_score_is_near_one_by_chance_in_a_plane_and_the_strict_one_is_not():
    W = polygon().expand(20, 2, 5)
    found = spd.scores(spd.random_parts(W, 20), W)
    assert found["mmcs"].mean() > 0.97
    assert found["whole"].mean() < 0.8


def test_parts_left_out_and_features_that_are_not_there():
    W = polygon().clone()
    keep = torch.tensor([[True, True, True, True, False]])
    assert spd.scores(columns(W), W, keep)["whole"].item() < 0.9
    W[:, :, 2] = 0
    assert spd.scores(columns(W), W)["whole"].item() == pytest.approx(1)


def test_random_parts_are_rank_one_and_as_long_as_the_truth():
    W = polygon()
    parts = spd.random_parts(W, 7, seed=2)
    assert torch.linalg.matrix_rank(parts).max() == 1
    assert parts.square().sum() == pytest.approx(W.square().sum().item(), rel=1e-5)


# ------------------------------------------------------------------------------------------------------------------- errors

EYE = torch.eye(3)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weights": {}}, "0 weight matrices"),
        ({"seeds": []}, "0 seeds"),
        ({"weights": {"in": torch.zeros(3, 3)}}, "all zero"),
        ({"weights": {"in": EYE * math.nan}}, "not finite"),
        ({"weights": {"in": torch.ones(3)}}, "shape"),
        ({"weights": {"in": torch.ones(3, 3, 3)}}, "shape"),
        ({"weights": {"in": EYE, "more": EYE}}, "does not apply more"),
        ({"forward": lambda apply, x: apply["in"](apply["in"](x))}, "applied twice"),
        ({"draw": lambda step: torch.full((4, 3), math.inf)}, "not finite"),
        ({"draw": lambda step: torch.ones(3)}, "inputs have shape"),
        ({"minimality": [1.0, 2.0]}, "one a seed"),
        ({"minimality": [-1.0]}, "not below 0"),
    ],
)
def test_one_line_for_wrong_arguments(change, said):
    given = {"weights": {"in": EYE}, "forward": linear, "draw": sparse(3), "recipe": spd.Recipe(steps=1), **change}
    with pytest.raises(UserError, match=said) as error:
        spd.decompose(**given)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"), [("components", 0), ("hidden", 1.5), ("steps", -1), ("minimality", -1), ("p", 0), ("lr", math.nan)]
)
def test_one_line_for_wrong_settings(name, value):
    with pytest.raises(UserError, match=f"{name}="):
        spd.Recipe(**{name: value})


def test_a_wrong_rate_and_wrong_questions():
    with pytest.raises(UserError, match="diverges"):
        spd.decompose({"in": EYE}, linear, sparse(3), spd.Recipe(steps=40, lr=1e12), [0])
    made = spd.decompose({"in": EYE}, linear, sparse(3), spd.Recipe(steps=1), [0])
    with pytest.raises(UserError, match="no layer 'mid'"):
        made.parts("mid")
    with pytest.raises(UserError, match="known are"):
        made.error(sparse(3)(0), "half")
    with pytest.raises(UserError, match="expected"):
        spd.scores(torch.ones(1, 2, 3, 4), torch.ones(1, 4, 3))
    with pytest.raises(UserError, match="not finite"):
        spd.scores(torch.ones(1, 2, 3, 4) * math.nan, torch.ones(1, 3, 4))
