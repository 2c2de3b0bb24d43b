"""Statistics and forecasting without Django: Polars frames in, plain dataclasses and Polars frames out."""

import os

# Threads of OpenMP wait for each other by spinning, which takes the core from whoever they wait for: on two busy cores a fit of three
# seconds took a hundred. Asleep they cost nothing. Read when the first library that needs it is loaded, so it is said before.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
