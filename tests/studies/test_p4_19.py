"""4.19: groups and their normal subgroups, planted additive and joint codes, and the contract on a small run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from superscope import studies
from superscope.studies import p4_19_non_decomposable as study
from superscope.toys.groups import factorisations, group, minimal_normal_subgroups


@pytest.mark.parametrize("name", study.GROUPS)
def test_groups_are_groups_with_coordinates(name: str):
    g = group(name)
    p = g.product
    assert all(sorted(row) == list(range(24)) for row in (*p, *p.T))
    assert (p[p] == p[:, p]).all()  # (a b) c = a (b c)
    assert len({tuple(c) for c in g.coordinates}) == 24
    assert (g.inverse[tuple(g.coordinates.T)] == np.arange(24)).all()


def test_only_s4_has_a_single_minimal_normal_subgroup():
    assert {name: minimal_normal_subgroups(group(name).product) for name in study.GROUPS} == {
        "S4": 1, "S3 x Z4": 2, "Z6 x Z4": 4,
    }  # fmt: skip
    assert [group(name).homomorphic for name in study.GROUPS] == [False, True, True]
    assert (group("S3 x Z4").product != group("S3 x Z4").product.T).any()


def test_factorisations_make_every_element_once():
    assert [len(factorisations(name)) for name in study.GROUPS[::2]] == [68, 18]
    assert all(sorted(way.ravel()) == list(range(24)) for way in factorisations("S4"))


def test_additive_share_of_planted_codes():
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((2, 6, 1, 5)), rng.standard_normal((2, 1, 4, 5))
    assert study.additive_share(first + second).tolist() == pytest.approx([1, 1])
    noise = rng.standard_normal((400, 6, 4, 5))
    assert study.additive_share(noise).mean() == pytest.approx(8 / 23, abs=0.01)


def test_contract_on_a_small_run(tmp_path: Path):
    found = studies.get("4.19").run(
        out=tmp_path, quiet=True, tokens=8, width=16, group_width=32, steps=40, interchanges=40, sizes=(2,), seeds=5
    )
    assert len(found.claims) == 6
    assert len(found.figures) == 2
    assert found.tables["readings"]["minimal normal subgroups"].tolist() == [1, 2, 4]
