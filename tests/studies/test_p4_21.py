"""4.21: a planted copying head is recognised, an untrained one is not, and one tiny run on the bundled models."""

import numpy as np
import torch

from superscope import lms, studies
from superscope.lms.model.transformer import Shape
from superscope.studies import p4_21_induction_token_code as study


def planted() -> lms.LanguageModel:
    """Head 0 of layer 0 copies: its value code is a random projection of the embedding, its readout the transpose of it."""
    tokenizer = lms.load("attn-only-2l-mini").tokenizer
    model = lms.untrained(Shape(n_layers=1, d_model=64, n_heads=2, d_mlp=0, n_ctx=16), tokenizer)
    generator = torch.Generator().manual_seed(0)
    w = model.hooked
    w.W_E.copy_(torch.randn(w.W_E.shape, generator=generator))
    w.unembed.W_U.copy_(w.W_E.T)
    frame = torch.linalg.qr(torch.randn(64, 32, generator=generator))[0]
    w.blocks[0].attn.W_V[0].copy_(frame)
    w.blocks[0].attn.W_O[0].copy_(frame.T)
    return model


def test_a_planted_copying_head_is_recognised():
    copying, other = study.every_head(planted())
    assert copying["copying"] > 0.95
    assert copying["top1"] > 0.9  # 4096 random codes of 32 dimensions are told apart by the largest product
    assert abs(other["copying"]) < 0.3
    assert other["top5"] < 0.02
    codes, readout = study.circuit(planted(), 0, 0)
    assert study._identified(codes, readout, 4)["top1"] < study._identified(codes, readout, 16)["top1"]


def test_the_small_product_has_the_eigenvalues_of_the_large():
    model = planted()
    codes, readout = study.circuit(model, 0, 0)
    part = np.arange(0, 4096, 16)
    large = np.linalg.eigvals(codes[part] @ readout[:, part])
    small = np.linalg.eigvals(readout[:, part] @ codes[part])
    assert np.allclose(np.sort(abs(large))[-32:], np.sort(abs(small)), rtol=1e-6)


def test_a_tiny_run(tmp_path):
    found = studies.get("4.21").run(out=tmp_path, directions=(4, 32), draws=50, rows=4)
    controls = {claim.id: claim.null.estimate.value for claim in found.claims}
    assert found.gate.passed
    assert abs(controls["copies"]) < 0.3
    assert controls["identifies"] < 1
    assert controls["init-is-null"] > 3
    assert controls["superposed"] < 1
    assert {claim.verdict for claim in found.claims} <= {"supported", "refuted", "undecided"}
