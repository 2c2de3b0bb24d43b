"""Which code trained a version."""

import hashlib
from functools import lru_cache
from pathlib import Path

from django.conf import settings


@lru_cache(maxsize=1)
def code_revision() -> str:
    """The digest of the code that trains: equal code, data, parameters and seed give equal models."""
    folder = Path(settings.BASE_DIR) / "engine"
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes())
    return f"engine-{digest.hexdigest()[:16]}"
