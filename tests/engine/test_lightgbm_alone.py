"""LightGBM is imported without what only its wrappers need."""

import subprocess
import sys

WATCHED = "('lightgbm', 'sklearn', 'pandas', 'pyarrow')"


def loaded_after(statements: str) -> set[str]:
    """Which of the watched modules a fresh interpreter has after these statements."""
    program = f"import sys\n{statements}\nprint(*[name for name in {WATCHED} if sys.modules.get(name)])"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.split())


def test_training_imports_neither_scikit_learn_nor_pandas() -> None:
    assert loaded_after("from engine.forecasting.boosting import library\nlibrary()") == {"lightgbm"}


def test_others_may_import_them_afterwards() -> None:
    statements = "from engine.forecasting.boosting import library\nlibrary()\nimport pandas, sklearn\nassert library() is library()"

    assert loaded_after(statements) >= {"lightgbm", "pandas", "sklearn"}
