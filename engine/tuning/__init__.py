"""Searching hyper-parameters: what may be searched, and by which sampler and pruner. Optuna is imported inside functions only."""
