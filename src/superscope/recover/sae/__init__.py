"""Sparse autoencoders: one architecture a file, families of them trained at once, scores with their nulls.

    trained = sae.train(stream, sae.TopK(width=2048, k=32), seeds=3)
    sae.save(trained[0].sae, "my-sae");  sae.load("gelu-1l-mini/mlp-out-topk")

This is the only list of public names.
"""

from __future__ import annotations

from superscope.recover.sae.architecture import Architecture
from superscope.recover.sae.batch_topk import BatchTopK
from superscope.recover.sae.dictionary import SAE, neurons, pca, random
from superscope.recover.sae.format import read, save
from superscope.recover.sae.gated import Gated
from superscope.recover.sae.jumprelu import JumpReLU
from superscope.recover.sae.matryoshka import Matryoshka
from superscope.recover.sae.panel import Panel, examine
from superscope.recover.sae.relu_l1 import L1
from superscope.recover.sae.shelf import bundled, load
from superscope.recover.sae.streams import Activations, Samples
from superscope.recover.sae.topk import TopK
from superscope.recover.sae.training import Recipe, Trained, train
from superscope.recover.sae.transcoder import SkipTranscoder

ARCHITECTURES: dict[str, type[Architecture]] = {
    one.name: one for one in (L1, TopK, BatchTopK, JumpReLU, Gated, Matryoshka, SkipTranscoder)
}

__all__ = [
    "ARCHITECTURES", "L1", "SAE", "Activations", "Architecture", "BatchTopK", "Gated", "JumpReLU", "Matryoshka", "Panel",
    "Recipe", "Samples", "SkipTranscoder", "TopK", "Trained", "bundled", "examine", "load", "neurons", "pca", "random", "read",
    "save", "train",
]  # fmt: skip
