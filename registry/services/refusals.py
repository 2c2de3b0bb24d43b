"""What no further attempt of a job could mend, told once and for people."""

from collections.abc import Iterator
from contextlib import contextmanager

from mlops.artifacts.storage import DigestMismatch
from mlops.errors import DomainError
from mlops.jobs.services import JobRefused
from registry.rules.recipes import RecipeError


@contextmanager
def refusing() -> Iterator[None]:
    """End a job at once, with the reason, where the data is too little, a stored file is not what was registered, or a rule forbids it."""
    from engine.forecasting.artifact import ArtifactError
    from engine.forecasting.protocol import ForecastError
    from engine.frames.storing import PanelFileError

    try:
        yield
    except ForecastError as refusal:
        raise JobRefused(f"The data or the recipe does not allow it: {refusal}.") from refusal
    except RecipeError as refusal:
        raise JobRefused(f"The recipe cannot be used: {refusal.field}: {refusal}") from refusal
    except (DomainError, DigestMismatch, ArtifactError, PanelFileError) as refusal:
        raise JobRefused(str(refusal)) from refusal
    except FileNotFoundError as missing:
        raise JobRefused(f"A stored file is missing: {str(missing).splitlines()[0][:300]}") from missing
