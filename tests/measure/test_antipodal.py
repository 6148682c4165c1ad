"""The closed form of the antipodal pair equals quadrature, and its boundaries those of the numerical solver."""

from __future__ import annotations

import numpy as np
import pytest

from superscope.measure import theory
from superscope.measure.weights import antipodal


def test_closed_form_equals_the_exact_integral():
    rng = np.random.default_rng(0)
    for _ in range(30):
        a, p = rng.uniform(0.2, 1.4), rng.uniform(0.02, 0.98)
        b = rng.uniform(0, a)
        want = theory.two_feature_loss((a**0.5, -(a**0.5)), (b, b), p)[0]
        assert float(antipodal.antipodal_loss(a, b, p)) == pytest.approx(want, rel=1e-12)


def test_outside_its_pieces_it_refuses():
    with pytest.raises(ValueError, match="0 <= b <= a"):
        antipodal.antipodal_loss(0.5, 0.6, 0.1)
    with pytest.raises(ValueError, match="p=1"):
        antipodal.antipodal_optimum(1)


@pytest.mark.parametrize(("p", "norm", "loss"), [(0.2, 1.010, 0.013184), (0.5, 0.968, 0.076279), (0.7, 0.759, 0.108098)])
def test_the_pair_shrinks_as_the_numerical_optimum_does(p, norm, loss):
    found = antipodal.antipodal_optimum(p)
    assert found.norm == pytest.approx(norm, abs=2e-3)
    assert found.loss == pytest.approx(loss, rel=2e-4)
    assert found.loss == pytest.approx(theory.two_feature_optimum(p).loss, rel=1e-5)


def test_symmetry_breaks_below_the_density_where_the_unequal_pair_wins():
    broken = antipodal.symmetry_breaking(0.01)
    assert broken == pytest.approx(0.706, abs=0.01)
    assert theory.two_feature_optimum(broken + 0.03).loss < antipodal.antipodal_optimum(broken + 0.03).loss


def test_free_norms_keep_the_lesser_feature_longer_than_fixed_ones():
    exact, fixed = antipodal.dropping_density(0.3, 0.01), float(theory.two_feature_boundary(0.3))
    assert exact == pytest.approx(0.376, abs=0.01)
    assert exact > fixed + 0.02
