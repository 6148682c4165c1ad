"""Hand-written gradients against autograd, sparse activations against dense ones, and planted dictionaries."""

from __future__ import annotations

import pytest
import torch

from superscope.errors import UserError
from superscope.recover import sae
from superscope.recover.sae import acts
from superscope.recover.sae.architecture import Memory, column
from superscope.recover.sae.matryoshka import Matryoshka

SAMPLES, D, WIDTH = 64, 12, 20

FAMILIES = [
    [sae.L1(width=WIDTH, l1=0.3), sae.L1(width=WIDTH, l1=0.05)],
    [sae.TopK(width=WIDTH, k=3), sae.TopK(width=WIDTH, k=5)],
    [sae.BatchTopK(width=WIDTH, k=2.5), sae.BatchTopK(width=WIDTH, k=4)],
    [Matryoshka(width=WIDTH, k=k, prefixes=(0.2, 0.5), balance=0.7) for k in (3, 6)],
    [sae.Gated(width=WIDTH, l1=0.3), sae.Gated(width=WIDTH, l1=0.05)],
    [sae.SkipTranscoder(width=WIDTH, k=3)],
]  # fmt: skip


def parts(family, seed=0, dead=True):
    """Parameters in general position, data, and a memory in which some latents are dead."""
    g = torch.Generator().manual_seed(seed)
    one = family[0]
    members = []
    for i, config in enumerate(family):
        p = config.start(D, D, torch.zeros(D, dtype=torch.float64), torch.Generator().manual_seed(i))
        members.append({k: v + 0.1 * torch.randn(v.shape, generator=g, dtype=torch.float64) for k, v in p.items()})
    p = {k: torch.stack([m[k] for m in members]) for k in members[0]}
    x = torch.randn(len(family), SAMPLES, D, generator=g, dtype=torch.float64)
    y = x if one.inside else torch.randn(len(family), SAMPLES, D, generator=g, dtype=torch.float64)
    since = torch.zeros(len(family), WIDTH, dtype=torch.int64)
    if dead:
        since[:, :4] = 10**9
    memory = Memory(
        since, p["W_dec"].clone(), torch.full((len(family),), -1.0, dtype=torch.float64), torch.ones(len(family)), 0.5
    )
    return p, x, y, memory


def spelled_out(family, p, x, y, memory):
    """The same losses one member at a time, as the papers write them, for autograd."""
    total = torch.zeros((), dtype=torch.float64)
    for i, one in enumerate(family):
        W, b, V, c = p["W_enc"][i], p["b_enc"][i], p["W_dec"][i], p["b_dec"][i]
        raw = (x[i] - c if one.inside else x[i]) @ W.T
        gain = V.norm(dim=1) if isinstance(one, sae.TopK) else torch.ones_like(b)
        pre, V = (raw + b) * gain, V / gain[:, None]
        skip = x[i] @ p["W_skip"][i].T if "W_skip" in p else 0.0
        if one.name == "l1":
            a = pre.relu()
            loss = one.l1 * (a * V.norm(dim=1)).sum(1).mean()
        elif one.name == "gated":
            a = (pre > 0) * (raw * p["r_mag"][i].exp() + p["b_mag"][i]).relu()
            frozen = pre.relu() @ V.detach() + c.detach()
            loss = one.l1 * pre.relu().sum(1).mean() + ((frozen - y[i]) ** 2).sum(1).mean()
        elif one.name == "topk":
            kept = torch.zeros_like(pre).scatter(1, pre.topk(int(one.k), 1).indices, 1.0)
            a, loss = kept * pre.relu(), torch.zeros((), dtype=torch.float64)
        else:
            count = int(one.k * SAMPLES)
            least = pre.flatten().topk(count).values.min()
            a, loss = (pre >= least) * pre.relu(), torch.zeros((), dtype=torch.float64)
        if one.name == "matryoshka":
            ends = [round(share * WIDTH) for share in one.prefixes]
            loss = loss + sum(one.balance * ((a[:, :e] @ V[:e] + c - y[i]) ** 2).sum(1).mean() for e in ends)
        out = a @ V + c + skip
        loss = loss + ((out - y[i]) ** 2).sum(1).mean()
        if hasattr(one, "aux") and bool((memory.since[i] >= one.dead_after).any()):
            dead = torch.nonzero(memory.since[i] >= one.dead_after).flatten()
            k, weight = min(D // 2, len(dead)), one.aux * min(1.0, len(dead) / (D // 2))
            some = pre[:, dead]
            some = torch.zeros_like(some).scatter(1, some.topk(k, 1).indices, 1.0) * some.relu()
            loss = loss + weight * ((some @ V[dead] - (y[i] - out).detach()) ** 2).sum(1).mean()
        total = total + loss
    return total


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family[0].name)
def test_gradients_equal_those_of_autograd(family):
    p, x, y, memory = parts(family)
    step = family[0].step(family, p, x, y, memory)
    free = {k: v.clone().requires_grad_() for k, v in p.items()}
    loss = spelled_out(family, free, x, y, memory)
    loss.backward()
    assert float(step.losses["loss"].sum()) == pytest.approx(float(loss), rel=1e-10)
    for name, value in free.items():
        torch.testing.assert_close(step.gradients[name], value.grad, rtol=1e-8, atol=1e-10)


class Jump(torch.autograd.Function):
    """JumpReLU and the step of its count, with the pseudo-derivatives of Rajamanoharan et al. 2024, equations 11 and 12."""

    @staticmethod
    def forward(ctx, pre, threshold, bandwidth):
        ctx.save_for_backward(pre, threshold)
        ctx.bandwidth = bandwidth
        on = (pre > threshold).to(pre.dtype)
        return pre * on, on

    @staticmethod
    def backward(ctx, d_a, d_on):
        pre, threshold = ctx.saved_tensors
        kernel = ((pre - threshold).abs() < ctx.bandwidth / 2).to(pre.dtype) / ctx.bandwidth
        return d_a * (pre > threshold), -(kernel * (threshold * d_a + d_on)).sum(0), None


def test_jumprelu_has_the_papers_gradient():
    family = [sae.JumpReLU(width=WIDTH, l0=4, bandwidth=0.3), sae.JumpReLU(width=WIDTH, l0=7, bandwidth=0.2, penalty=0.5)]
    p, x, y, memory = parts(family)
    p["log_threshold"] = torch.log(torch.full_like(p["b_enc"], 0.4))
    memory.threshold[:] = 0  # thresholds are not to be set anew from this batch
    step = family[0].step(family, p, x, y, memory)
    free = {k: v.clone().requires_grad_() for k, v in p.items()}
    total = 0.0
    for i, one in enumerate(family):
        pre = (x[i] - free["b_dec"][i]) @ free["W_enc"][i].T + free["b_enc"][i]
        a, on = Jump.apply(pre, free["log_threshold"][i].exp(), one.bandwidth)
        out = a @ free["W_dec"][i] + free["b_dec"][i]
        total = total + ((out - y[i]) ** 2).sum(1).mean() + one.penalty * D * on.sum() / SAMPLES / one.l0
    total.backward()
    for name, value in free.items():
        torch.testing.assert_close(step.gradients[name], value.grad, rtol=1e-8, atol=1e-10)
    assert float(step.gradients["log_threshold"].abs().max()) > 0


@pytest.mark.parametrize("family", [f for f in FAMILIES if isinstance(f[0], sae.TopK)], ids=lambda family: family[0].name)
def test_sparse_activations_give_what_dense_ones_give(family, monkeypatch):
    p, x, y, memory = parts(family, seed=1)
    dense = family[0].step(family, p, x, y, memory)
    for module in ("topk", "batch_topk"):
        monkeypatch.setattr(f"superscope.recover.sae.{module}.pays", lambda *_: True)
    memory.threshold[:] = -1
    sparse = family[0].step(family, p, x, y, memory)
    assert isinstance(family[0].forward(family, p, x, memory).acts, acts.Sparse)
    assert torch.equal(dense.on, sparse.on)
    for name in dense.gradients:
        torch.testing.assert_close(sparse.gradients[name], dense.gradients[name], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize(("rows", "n", "k"), [(50, 4096, 8), (7, 512, 3), (9, 100, 5), (3, 64, 64)])
def test_topk_by_groups_is_topk(rows, n, k):
    values = torch.randn(rows, n, generator=torch.Generator().manual_seed(n))
    found, places = acts.topk(values, k)
    assert torch.equal(values.gather(1, places), found)
    assert torch.equal(found.sort().values, values.topk(k).values.sort().values)


def test_topk_by_groups_with_many_equal_values():
    values = torch.zeros(4, 2048)
    values[:, 100:103] = 1.0
    found, places = acts.topk(values, 8)
    assert found.sum(1).tolist() == [3.0] * 4
    assert all(len(set(row.tolist())) == 8 for row in places)


@pytest.mark.parametrize("heavy", [False, True])
def test_topk_of_a_batch_is_topk(heavy):
    g = torch.Generator().manual_seed(3)
    values = torch.randn(600, 512, generator=g)
    if heavy:  # a sample of entries then says nothing about the largest
        values[0, :400] += 50
    found, places = acts.topk_of_all(values, 4000)
    assert torch.equal(values.flatten()[places], found)
    assert torch.equal(found.sort().values, values.flatten().topk(4000).values.sort().values)


def test_members_do_not_touch_each_other():
    both = FAMILIES[1]
    p, x, y, memory = parts(both)
    together = both[0].step(both, p, x, y, memory)
    rest = Memory(memory.since[1:], memory.start[1:], memory.threshold[1:], memory.gain[1:], 0.5)
    alone = both[1].step([both[1]], {k: v[1:] for k, v in p.items()}, x[1:], y[1:], rest)
    for name in p:
        torch.testing.assert_close(together.gradients[name][1:], alone.gradients[name])


def test_columns_read_each_members_setting():
    assert column(FAMILIES[0], "l1", torch.zeros(1)).flatten().tolist() == pytest.approx([0.3, 0.05])


def planted(step, n=24, d=16, samples=256, density=0.06):
    """Features of unequal strength and frequency, about a mean that is far from 0."""
    g = torch.Generator().manual_seed(4711)  # not a seed of any training: its start would then be the answer
    truth = torch.randn(n, d, generator=g)
    truth /= truth.norm(dim=1, keepdim=True)
    strength = torch.linspace(1.0, 0.5, n)
    draw = torch.Generator().manual_seed(1000 + step)
    on = torch.rand(samples, n, generator=draw) < density * torch.linspace(0.5, 1.5, n)
    return truth, (on * (0.5 + torch.rand(samples, n, generator=draw)) * strength) @ truth + 3.0


@pytest.mark.parametrize(
    ("config", "steps"),
    [
        (sae.TopK(width=24, k=2), 400),
        (sae.BatchTopK(width=24, k=2), 600),
        (sae.JumpReLU(width=24, l0=1.6), 1200),
        (sae.L1(width=24, l1=0.7), 400),
        (sae.Gated(width=24, l1=2.0), 1200),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_planted_features_are_found(config, steps):
    source = sae.Samples(lambda step: planted(step)[1], "planted")
    (one,) = sae.train(source, config, recipe=sae.Recipe(steps=steps, lr=1e-2))
    truth, x = planted(10**6)
    rows = one.sae.decoder / one.sae.decoder.norm(dim=1, keepdim=True)
    assert float((rows @ truth.T).max(0).values.median()) > 0.93
    out = one.sae(x)
    explained = 1 - float(((out - x) ** 2).sum() / ((x - x.mean(0)) ** 2).sum())  # about the mean, which is no merit
    assert explained > 0.7


@pytest.mark.parametrize("kind", [sae.L1, sae.Gated, sae.JumpReLU], ids=lambda kind: kind.name)
def test_a_penalty_is_steered_to_an_l0(kind):
    source = sae.Samples(lambda step: planted(step)[1], "planted")
    low, high = sae.train(source, kind(width=24), over={"l0": [1.5, 4.0]}, recipe=sae.Recipe(steps=600, lr=1e-2))
    l0 = [float((one.sae.encode(planted(10**6)[1]) > 0).sum(1).float().mean()) for one in (low, high)]
    assert l0 == pytest.approx([1.5, 4.0], rel=0.2)


def test_frozen_members_find_less_and_keep_what_is_frozen():
    source = sae.Samples(lambda step: planted(step)[1], "planted")
    start = sae.train(source, sae.TopK(width=24, k=2, freeze="decoder"), recipe=sae.Recipe(steps=1))[0]
    found = {}
    for freeze in ("nothing", "decoder", "soft decoder", "encoder"):
        (one,) = sae.train(source, sae.TopK(width=24, k=2, freeze=freeze), recipe=sae.Recipe(steps=300, lr=5e-3))
        found[freeze] = float((one.sae.decoder @ planted(0)[0].T).max(0).values.mean())
        cosines = (one.sae.decoder * start.sae.decoder).sum(1)
        if freeze == "decoder":
            assert float(cosines.min()) > 1 - 1e-5
        if freeze == "soft decoder":
            assert 0.8 - 1e-4 <= float(cosines.min()) < 0.85
    assert found["decoder"] < found["soft decoder"] < found["nothing"]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        (sae.TopK(width=8, k=9), "k=9 with 8 latents"),
        (sae.TopK(width=8, k=2.5), "whole number"),
        (sae.TopK(width=0, k=1), "at least one latent"),
        (sae.JumpReLU(width=8, l0=9), "l0=9 with 8 latents"),
        (sae.L1(width=8, l1=float("nan")), "l1=nan"),
        (sae.L1(width=8, l1=-1), "l1=-1"),
        (sae.JumpReLU(width=8, l0=2, bandwidth=0), "bandwidth=0"),
        (Matryoshka(width=8, k=2, prefixes=(0.5, 0.25)), "prefixes"),
        (sae.TopK(width=8, k=2, freeze="everything"), "freeze='everything'"),
        (sae.TopK(width=8, k=2, aux=-1), "aux=-1"),
    ],
)
def test_settings_that_cannot_be(config, says):
    with pytest.raises(UserError, match=says):
        sae.train(sae.Samples(lambda step: planted(step)[1], "planted"), config, recipe=sae.Recipe(steps=2))
