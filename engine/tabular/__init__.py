"""Tables of one row per case: read, split, profile, learn from. Polars in, plain dataclasses out; no Django, no library at import."""
