"""Worlds: known sparse features embedded in d dimensions, with a law of firing that may correlate, exclude and nest them.

A world answers what no language model can: which features there are. `sample` draws true activations, `embed` makes of them
what a sparse autoencoder is given. Ready-made worlds stand in the literature on how autoencoders fail: `sparse_but_wrong`,
`parent_child`, `polygon`, and `benchmark`, a scaled SynthSAEBench. A world is data: `save` and `load` keep it exactly.

The law, in this order: (1) feature i is drawn on with probability p_i; with `factors` F (feature, rank) through a Gaussian
copula, on where F_i . z + sqrt(1 - |F_i|^2) e_i exceeds the quantile of p_i, so that F_i . F_j is the correlation of the two
Gaussians (the correlation of the firings is less); (2) from the roots down, a child whose parent is off goes off; (3) of
exclusive siblings that are on, one picked at random stays. What is on has a value by `magnitude`.
"""

from superscope.inputs.worlds.law import World, load
from superscope.inputs.worlds.making import low_rank, orthogonal, spread, trees, world, zipf
from superscope.inputs.worlds.ready import SIZES, benchmark, parent_child, polygon, sparse_but_wrong

__all__ = [
    "SIZES", "World", "benchmark", "load", "low_rank", "orthogonal", "parent_child", "polygon", "sparse_but_wrong",
    "spread", "trees", "world", "zipf",
]  # fmt: skip
