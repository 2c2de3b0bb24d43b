"""Statistics and forecasting without Django: Polars frames in, plain dataclasses and Polars frames out."""
