"""Heads: planted circuits are recovered, random ones are null."""

import numpy as np
import pytest
import torch

from superscope.lms.model import attention
from superscope.measure.activations import heads


def test_repeated_tokens_repeat_and_avoid_bos():
    tokens = attention.repeated_tokens(50, 20, 8, seed=0, bos=7)
    assert tokens.shape == (8, 41)
    assert (tokens[:, 0] == 7).all()
    assert torch.equal(tokens[:, 1:21], tokens[:, 21:])
    assert not (tokens[:, 1:] == 7).any()
    assert torch.equal(tokens, attention.repeated_tokens(50, 20, 8, seed=0, bos=7))


def test_a_perfect_induction_head_scores_one_and_uniform_attention_its_share():
    period, length = 20, 41
    perfect = torch.zeros(2, 2, length, length)
    for query in range(1 + period, length):
        perfect[:, 0, query, query - period + 1] = 1
    uniform = torch.tril(torch.ones(length, length)) / torch.arange(1, length + 1)[:, None]
    perfect[:, 1] = uniform
    score = attention.prefix_matching(perfect, period)
    assert score[0] == 1
    assert score[1] == pytest.approx(float((1 / torch.arange(22, 42)).mean()))


def test_previous_token():
    pattern = torch.zeros(1, 2, 10, 10)
    for query in range(1, 10):
        pattern[0, 0, query, query - 1] = 1
        pattern[0, 1, query, 0] = 1
    assert attention.previous_token(pattern).tolist() == [1, 0]


def test_copying_score_of_planted_circuits():
    rng = np.random.default_rng(0)
    frame = np.linalg.qr(rng.normal(size=(128, 32)))[0]
    for sign in (1, -1):  # OV = +-c I on a 32-dimensional subspace; its non-zero eigenvalues are those of the small product
        assert heads.copying_score(torch.from_numpy(sign * 3 * frame.T @ frame)) == pytest.approx(sign)
    square = torch.from_numpy(frame @ frame.T)
    assert heads.copying_score(square) == pytest.approx(1, abs=1e-6)


def test_copying_score_is_null_for_random_circuits():
    null = heads.random_copying_scores(128, 32, 300, seed=0)
    assert abs(null.mean()) < 0.02
    assert null.std() == pytest.approx(0.046, abs=0.008)  # computed independently for rank 32 in 128 dimensions


def test_identification_recovers_the_planted_rank():
    rng = np.random.default_rng(1)
    codes = np.linalg.qr(rng.normal(size=(12, 12)))[0]  # twelve orthogonal codes: one token per dimension
    rank = heads.identification_rank(codes, codes.T)
    assert (rank == 0).all()
    scaled = codes * np.linspace(2, 1, 12)[:, None]  # singular directions in token order
    for k in (3, 7, 12):
        kept = heads.identification_rank(heads.leading_directions(scaled, k), scaled.T)
        assert (kept == 0).sum() == k


def test_identification_equals_its_slow_twin():
    rng = np.random.default_rng(3)
    codes, readout = rng.normal(size=(700, 6)), rng.normal(size=(6, 700))
    rank = heads.identification_rank(codes, readout)
    for token in range(0, 700, 37):
        logits = [float(codes[token] @ readout[:, other]) for other in range(700)]
        assert rank[token] == sum(logits[other] >= logits[token] for other in range(700) if other != token)


def test_identification_of_nothing():
    assert (heads.identification_rank(np.zeros((30, 4)), np.ones((4, 30))) == 29).all()  # ties count against
    rng = np.random.default_rng(2)
    rank = heads.identification_rank(rng.normal(size=(500, 8)), rng.normal(size=(8, 500)))
    assert (rank < 5).mean() < 0.04  # chance is 0.01
