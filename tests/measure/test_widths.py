"""Loss against width: exponents of exact laws, and the two kinds of superposition told apart."""

import numpy as np
import pytest

from superscope.measure.weights import widths

WIDTHS = (8, 16, 32)


def zipf(n=2000, power=1.0):
    share = np.arange(1, n + 1) ** -power
    return share / share.sum()


@pytest.mark.parametrize("a", [0.5, 1.0, 2.0])
def test_exact_laws(a):
    assert widths.exponent([3 + 0.7 * d**-a for d in WIDTHS]) == pytest.approx(a)


def test_a_loss_that_does_not_fall_has_no_exponent():
    assert np.isnan(widths.exponent([1.0, 2.0, 0.5]))
    assert np.isnan(widths.exponent([3.0, 2.0, 2.5]))
    with pytest.raises(ValueError, match="three widths"):
        widths.exponent([1.0, 0.5])


def test_overlap_is_what_every_pair_says():
    share, rng = zipf(30), np.random.default_rng(0)
    found = widths.strong_losses(share, (4,), np.random.default_rng(0))[0]
    rows = rng.standard_normal((30, 4))
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    pairs = sum(share[i] * share[j] * (unit[i] @ unit[j]) ** 2 for i in range(30) for j in range(30) if i != j)
    assert found == pytest.approx(pairs, rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_two_kinds_are_told_apart(seed):
    share, rng = zipf(), np.random.default_rng(seed)
    assert 0.75 < widths.exponent(widths.strong_losses(share, WIDTHS, rng, 0.01)) < 1.25
    assert widths.exponent(widths.weak_losses(rng.permutation(share), WIDTHS)) == pytest.approx(0, abs=0.1)


def test_weak_losses_of_steeper_frequencies_fall_faster():
    """Where the law misleads: frequencies as 1 / rank^2 make weak superposition fall as 1/d, too."""
    assert widths.exponent(widths.weak_losses(zipf(20000, 2.0), WIDTHS)) == pytest.approx(1, abs=0.1)
