"""DAS: planted variables are found, dormant directions are flagged, and the nulls stay low."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from superscope import lms
from superscope.lms.model.transformer import Shape
from superscope.recover import das

D, HIDDEN, COUNT = 12, 8, 400


def orthonormal(seed: int) -> torch.Tensor:
    return das.random_frame(D, D, seed)


def circuit(true: bool, seed: int = 0, relu: bool = True):
    """(respond, pairs, read, directions). Answer: sign of a variable v. State: v, a second variable u that is also read, noise.
    `true`: v is written along the direction that is read. Else v lies along one that nothing reads, the
    one read for it is dormant, and the answer of the base arrives by another way."""
    draw = torch.Generator().manual_seed(seed)
    axes = orthonormal(seed)
    variable, second, dormant, disconnected = axes[:, :4].T
    v, u = torch.randn(2, 2, COUNT, generator=draw)  # (base or source, pair)
    noise = 0.15 * torch.randn(2, COUNT, D, generator=draw) @ axes[:, 4:] @ axes[:, 4:].T
    if true:
        read, state = torch.stack([2 * variable, 0.7 * second, *axes[:, 4:6].T]), v[..., None] * variable
        bypass = torch.zeros(COUNT)
    else:
        read, state = torch.stack([2 * dormant, 0.7 * second, *axes[:, 4:6].T]), v[..., None] * disconnected
        bypass = 0.5 * v[0]
    state = state + 0.8 * u[..., None] * second + noise

    def respond(values, rows):
        seen = values @ read.T
        if relu:
            seen = torch.relu(seen) - torch.relu(-seen)
        score = 3 * seen[:, 0] + 0.1 * seen[:, 1] + 6 * bypass[rows] * (not true)
        return torch.stack([-score, score], dim=-1)

    pairs = das.Pairs(state[0], state[1], (v[1] > 0).long(), torch.arange(COUNT) < COUNT // 2)
    return respond, pairs, read, (variable, dormant, disconnected)


@pytest.mark.parametrize("relu", [False, True])
def test_the_true_variable_is_found_and_accepted(relu):
    respond, pairs, read, (variable, _, _) = circuit(true=True, relu=relu)
    found = das.das(respond, pairs, k=1)
    assert found.iia > 0.95
    assert found.shuffled.max() < 0.85
    assert found.random.max() < 0.85
    assert found.nothing < 0.65
    assert abs(float(found.frame[:, 0] @ variable)) > 0.95
    parts = das.split(respond, pairs, found.frame, read)
    assert parts.null_share[0] < 0.1
    assert parts.kept > 0.9
    assert parts.accepted


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_dormant_direction_with_a_disconnected_one_is_flagged(seed):
    """The patch works, and yet the read part alone does nothing: it never varies with the variable."""
    respond, pairs, read, (_, dormant, disconnected) = circuit(true=False, seed=seed)
    found = das.das(respond, pairs, k=1, draws=1)
    assert found.iia > 0.9 > 0.7 > found.whole
    assert float((found.frame[:, 0] @ dormant).abs()) > 0.4
    assert float((found.frame[:, 0] @ disconnected).abs()) > 0.4
    parts = das.split(respond, pairs, found.frame, read)
    assert parts.null_share[0] > 0.4
    assert parts.kept < 0.3
    assert not parts.accepted


def test_a_true_variable_beside_a_louder_unread_copy_is_found_inside_the_row_space():
    """The free search prefers the illusion, and is flagged; the search in what is read finds the true direction."""
    draw, axes = torch.Generator().manual_seed(0), orthonormal(5)
    v = torch.randn(2, COUNT, generator=draw)
    noise = 0.1 * torch.randn(2, COUNT, D, generator=draw) @ axes[:, 4:] @ axes[:, 4:].T
    state = 0.3 * v[..., None] * axes[:, 0] + 2 * v[..., None] * axes[:, 1] + noise
    read = torch.stack([axes[:, 0] / 0.3, 2 * axes[:, 2], *axes[:, 5:7].T])

    def respond(values, rows):
        score = 4 * (values @ read[:2].T).sum(-1)
        return torch.stack([-score, score], dim=-1)

    pairs = das.Pairs(state[0], state[1], (v[1] > 0).long(), torch.arange(COUNT) < COUNT // 2)
    free = das.das(respond, pairs, k=1, draws=1)
    assert free.iia > 0.9
    assert not das.split(respond, pairs, free.frame, read).accepted
    inside = das.das(respond, pairs, k=1, draws=1, inside=das.row_space(read))
    assert inside.iia > 0.9
    assert abs(float(inside.frame[:, 0] @ axes[:, 0])) > 0.9
    assert das.split(respond, pairs, inside.frame, read).accepted


def test_two_dimensions_are_needed_for_three_classes():
    draw = torch.Generator().manual_seed(3)
    corners = torch.tensor([[1.0, 0.0], [-0.5, 0.87], [-0.5, -0.87]])
    plane = orthonormal(3)[:, :2]
    kind = torch.randint(0, 3, (2, COUNT), generator=draw)
    state = corners[kind] @ plane.T + 0.1 * torch.randn(2, COUNT, D, generator=draw)
    pairs = das.Pairs(state[0], state[1], kind[1], torch.arange(COUNT) < COUNT // 2)

    def respond(values, rows):
        return 5 * values @ plane @ corners.T

    one, two = (das.das(respond, pairs, k=k, draws=1) for k in (1, 2))
    assert one.iia < 0.85 < 0.95 < two.iia
    assert float(torch.linalg.svdvals(two.frame.T @ plane).min()) > 0.9
    assert das.null_shares(two.frame, plane.T).max() < 0.2


def test_null_shares_are_those_of_projections():
    """The slow twin: least squares onto the readers, direction by direction."""
    draw = torch.Generator().manual_seed(0)
    read = torch.randn(5, D, generator=draw).double()
    frame = das.random_frame(D, 1, 0).double()
    fitted = np.linalg.lstsq(read.T.numpy(), frame.numpy(), rcond=None)[0]
    left = frame.numpy() - read.T.numpy() @ fitted
    assert das.null_shares(frame, read)[0] == pytest.approx(float((left**2).sum()))
    shares = [das.null_shares(das.random_frame(D, 1, seed).double(), read)[0] for seed in range(300)]
    assert np.mean(shares) == pytest.approx(1 - 5 / D, abs=0.04)
    turned = das.random_frame(D, 3, 1).double()
    basis = das.random_frame(3, 3, 2).double()
    assert das.null_shares(turned @ basis, read) == pytest.approx(das.null_shares(turned, read))
    assert das.row_part(turned, read).shape == (D, 3)


def test_the_jacobian_reads_what_the_weights_read():
    respond, pairs, read, _ = circuit(true=True)
    seen = das.row_space(das.jacobian_read(respond, pairs.base[:20], torch.arange(20)))
    assert float(torch.linalg.svdvals(seen.T @ das.row_space(read[:2])).min()) > 0.999


def test_a_site_of_a_language_model():
    """Swapping all of the last position's input gives the source's answers; one direction is enough for two tokens."""
    tokenizer = lms.load("gelu-1l-mini").tokenizer
    model = lms.untrained(Shape(n_layers=2, d_model=32, n_heads=2, d_mlp=64, n_ctx=16, act_fn="gelu"), tokenizer, 0)
    rng = np.random.default_rng(0)
    tokens = rng.integers(10, 4000, (120, 6))
    tokens[:, 0] = tokenizer.bos
    tokens[:, -1] = np.where(rng.random(120) < 0.5, 20, 30)
    said = model.logits(torch.as_tensor(tokens))[:, -1]
    answers = [int(i) for i in (said[tokens[:, -1] == 20].mean(0) - said[tokens[:, -1] == 30].mean(0)).argsort()[[0, -1]]]
    other = torch.as_tensor(rng.permutation(120))
    values, respond = das.site(model, tokens, "blocks.0.hook_resid_pre", 5, answers)
    rows = torch.arange(120)
    with torch.no_grad():
        assert torch.allclose(respond(values, rows), said[:, answers], atol=1e-5)
    want = torch.as_tensor((tokens[:, -1] == 20).astype(int))[other]
    pairs = das.Pairs(values, values[other], want, rows < 60)
    found = das.das(respond, pairs, k=1, draws=1, starts=1, steps=60)
    assert found.whole == 1.0
    assert found.iia > 0.9 > 0.75 > max(found.random.max(), found.nothing)


def test_bad_pairs_are_refused():
    some = torch.zeros(4, 3)
    with pytest.raises(ValueError, match="some must judge"):
        das.Pairs(some, some, torch.zeros(4), torch.ones(4, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"want has shape \(3,\)"):
        das.Pairs(some, some, torch.zeros(3), torch.arange(4) < 2)
    respond, pairs, _, _ = circuit(true=True)
    with pytest.raises(ValueError, match="k=13: expected 1 to 12"):
        das.learn_frame(respond, pairs, 13)
