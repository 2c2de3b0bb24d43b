"""Bounds that a split and a model of it share: whatever a split lets in can be learnt from, and is refused when it is made otherwise."""

MAX_FEATURES = 2_000
MAX_NAME = 200
"""Characters in the name of a column."""
MAX_CLASSES = 200
"""Of a classification's target."""
