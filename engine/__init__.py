"""Statistics and forecasting without Django: Polars frames in, plain dataclasses and Polars frames out."""

import os

# GNU's OpenMP lets threads wait for each other by spinning for milliseconds, which takes the core from whoever they wait for: on two cores
# that others use a fit of three seconds took a hundred. A thousand turns of spinning cost a tenth on a quiet machine and a few seconds on a
# busy one; none at all would cost two thirds on the quiet one. Read when the first library that needs it is loaded: so it is said before.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
