"""Numbers about activations and the components that make them: heads, positions, probes, rays, subspaces."""
