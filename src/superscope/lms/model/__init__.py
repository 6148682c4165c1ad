"""Language models to look into: loading, controls, hooks, activations, interventions."""
