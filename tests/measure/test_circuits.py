"""Whole circuits: planted ranks, the slow SVD, and what identification shows and does not show."""

import numpy as np
import pytest

from superscope.measure.weights import circuits


def planted(rank: int, seed: int = 0, noise: float = 0.005, tokens: int = 300, d: int = 64, d_head: int = 32):
    """Thin factors of an OV circuit: `rank` of 32 directions, gains 1 down to 1/4, noise in all entries. The input
    is loudest where the head does not look, so that its variance says nothing about the circuit."""
    rng = np.random.default_rng([seed, rank])
    embed = rng.normal(size=(tokens, d)) * np.linspace(3, 0.5, d)
    frame = np.linalg.qr(rng.normal(size=(d, d_head)))[0]
    value, output = np.zeros((d, d_head)), np.zeros((d_head, d))
    value[:, :rank] = frame[:, :rank] * np.geomspace(1, 0.25, rank)
    output[:] = frame.T  # all dimensions are written out, those with nothing but noise in them as loudly
    value, output = (w + noise * rng.normal(size=w.shape) for w in (value, output))
    return embed, value, output, rng.normal(size=(d, tokens))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rank", [4, 8, 16])
def test_planted_ranks_are_recovered_exactly(rank, seed):
    svd = circuits.circuit_svd(*planted(rank, seed))
    assert len(svd.values) == 32
    gap = circuits.gap_rank(svd.values)
    assert gap.rank == rank
    assert gap.ratio > 2
    assert circuits.rank_for(svd.values, 0.9) < rank  # energy passes over the weak directions


def test_a_random_circuit_has_no_gap():
    rng = np.random.default_rng(0)
    ratios = [
        circuits.gap_rank(
            circuits.circuit_svd(*(rng.normal(size=s) for s in ((300, 128), (128, 32), (32, 128), (128, 300)))).values
        ).ratio
        for _ in range(4)
    ]
    assert max(ratios) < 1.3


@pytest.mark.parametrize(
    "shapes",
    [
        ((50, 16), (16, 6), (6, 16), (16, 40)),  # OV
        ((50, 16), (16, 6), (6, 16), (16, 50)),  # QK
        ((50, 16), (16, 6), (6, 16), (16, 4)),  # what a previous-token head hands to the keys of another: W_E W_OV W_K
        ((50, 6), (6, 40)),
    ],
)
def test_the_core_gives_what_the_full_svd_gives(shapes):
    rng = np.random.default_rng(1)
    factors = [rng.normal(size=s) for s in shapes]
    svd = circuits.circuit_svd(*factors)
    product = np.linalg.multi_dot(factors)
    u, s, vt = np.linalg.svd(product, full_matrices=False)
    r = min(min(shape) for shape in shapes)
    assert np.allclose(svd.values, s[:r])
    for k in (1, r - 1, r):
        codes, readout = svd.factors(k)
        assert np.allclose(codes @ readout, (u[:, :k] * s[:k]) @ vt[:k])
    assert np.allclose(svd.left.T @ svd.left, np.eye(r))
    assert np.allclose(svd.right.T @ svd.right, np.eye(r))


def test_factors_that_do_not_multiply_are_named():
    with pytest.raises(ValueError, match=r"\(5, 2\), \(3, 5\)"):
        circuits.circuit_svd(np.ones((5, 2)), np.ones((3, 5)))
    with pytest.raises(ValueError, match="two or more"):
        circuits.circuit_svd(np.ones((5, 2)))


def test_energy_ranks():
    values = np.sqrt([0.5, 0.3, 0.15, 0.05])
    assert [circuits.rank_for(values, x) for x in (0.5, 0.8, 0.9, 0.95, 1.0)] == [1, 2, 3, 3, 4]


def test_random_codes_in_two_dimensions_are_identified_and_that_shows_nothing():
    codes = circuits.random_codes(4096, 2, 0)
    assert circuits.identified(codes, codes.T) > 0.999  # two may stand nearer than rounding
    assert circuits.identified(codes, codes.T, margin=0.01) < 0.01
    assert circuits.identified(codes, codes.T, noise=0.1) < 0.05
    codes = circuits.random_codes(4096, 32, 0)
    assert circuits.identified(codes, codes.T, margin=0.1, noise=0.3) > 0.99
    assert circuits.identified(codes, codes.T, noise=3) < 0.5


def test_leads_equal_their_slow_twin():
    rng = np.random.default_rng(3)
    codes, readout, offset = rng.normal(size=(700, 6)), rng.normal(size=(6, 700)), rng.normal(size=700)
    found = circuits.leads(codes, readout, offset)
    for token in range(0, 700, 37):
        logits = [float(codes[token] @ readout[:, other] + offset[other]) for other in range(700)]
        others = {other: value for other, value in enumerate(logits) if other != token}
        assert found.rival[token] == max(others, key=others.get)
        assert found.margin[token] == pytest.approx(logits[token] - max(others.values()), abs=1e-4)
        lead = logits[token] - sum(logits) / 700
        assert found.relative[token] == pytest.approx(found.margin[token] / lead if lead > 0 else -np.inf, rel=1e-3)


def test_codes_of_nothing_identify_nothing():
    assert circuits.identified(np.zeros((30, 4)), np.ones((4, 30))) == 0


def test_the_bisection_finds_what_a_scan_finds():
    svd = circuits.circuit_svd(*planted(16))
    wanted = 0.9 * circuits.identified(*svd.factors(), margin=0.1)
    scan = next(k for k in range(1, 33) if circuits.identified(*svd.factors(k), margin=0.1) >= wanted)
    assert abs(circuits.directions_for(svd, 0.9, margin=0.1) - scan) <= 1


def test_the_least_squares_map_beats_every_other_of_its_rank():
    rng = np.random.default_rng(4)
    codes, readout = rng.normal(size=(80, 12)) * np.linspace(2, 0.3, 12), rng.normal(size=(12, 80))
    best = circuits.least_squares_map(codes, readout, 5)
    a, b = best.factors()
    error = ((a @ b - np.eye(80)) ** 2).sum()
    middle = np.linalg.pinv(codes) @ a @ b @ np.linalg.pinv(readout)
    assert np.linalg.matrix_rank(middle) == 5
    assert np.allclose(codes @ middle @ readout, a @ b)  # it is a map between the two
    for _ in range(30):
        u, s, vt = np.linalg.svd(middle + 0.02 * rng.normal(size=middle.shape))
        other = (u[:, :5] * s[:5]) @ vt[:5]
        assert ((codes @ other @ readout - np.eye(80)) ** 2).sum() > error


def test_between_classes_finds_planted_shares_and_nothing_in_random_labels():
    rng = np.random.default_rng(5)
    classes = rng.integers(0, 50, 3000)
    means = rng.normal(size=(50, 200))
    scores = means[classes] + rng.normal(size=(3000, 200))
    assert circuits.between_classes(scores, classes).mean() == pytest.approx(0.5, abs=0.03)
    assert abs(circuits.between_classes(scores, rng.permutation(classes)).mean()) < 0.003
    one = circuits.between_classes(scores[:, :1], classes)[0]  # slow twin
    y = scores[:, 0]
    within = sum(((y[classes == c] - y[classes == c].mean()) ** 2).sum() for c in range(50))
    total = ((y - y.mean()) ** 2).sum()
    assert one == pytest.approx(1 - (within / (3000 - 50)) / (total / 2999))
