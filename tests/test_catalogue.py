"""The table everything is generated from."""

from __future__ import annotations

import re
from urllib.parse import urlparse

import pytest

from superscope import catalogue, studies

NUMBERS = [f"4.{n}" for n in range(1, 46)]


def test_all_45_problems_and_the_named_studies_in_order():
    assert list(catalogue.problems()) == ["tms", "sae-toys", "sae-lms", "spd", *NUMBERS]


def test_slugs_are_unique_and_fit_a_file_name():
    slugs = [problem.slug for problem in catalogue.problems().values()]
    assert len(set(slugs)) == len(slugs)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug) for slug in slugs)


@pytest.mark.parametrize("problem", catalogue.problems().values(), ids=lambda problem: problem.number)
def test_entries_are_complete(problem):
    assert problem.family in catalogue.families()
    assert problem.question.endswith("?")
    assert problem.tips
    assert re.fullmatch(r"([A-D](-[A-D])?)?", problem.difficulty)
    for work in problem.prior:
        parts = urlparse(work.url)
        assert parts.scheme == "https"
        assert "." in parts.netloc
        assert " " not in work.url
        assert parts.netloc != "arxiv.org" or re.fullmatch(r"/abs/\d{4}\.\d{5}", parts.path)
        assert work.finding.endswith(".")
        assert 2010 < work.year < 2030


def test_ratings_follow_the_post():
    rated = {number: catalogue.problems()[number].rating for number in ("4.1", "4.2", "4.10", "4.20", "4.28", "4.43", "4.45")}
    assert rated == {"4.1": "A*", "4.2": "B-C*", "4.10": "A-B*", "4.20": "C", "4.28": "D*", "4.43": "C", "4.45": "C-D*"}


def test_get_by_number_and_slug_and_the_nearest():
    assert studies.find("binary-features") is studies.find("4.7")
    with pytest.raises(KeyError, match="did you mean 'binary-features'"):
        studies.find("binary-feature")


def test_built_is_computed(fake_studies):
    assert studies.built() == ["4.7"]
    assert studies.find("4.7").number in studies.built()
