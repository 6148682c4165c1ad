"""Numbers about weights: every function takes W (..., hidden, feature) or what was made from it."""
