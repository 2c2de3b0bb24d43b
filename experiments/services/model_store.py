"""Loaded models, kept in this process up to a bound of memory and keyed by digest: what has a digest never changes."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from django.conf import settings

if TYPE_CHECKING:
    from engine.tabular.model import TabularModel

WEIGHT = 3
"""Memory of a loaded model over the size of its file, roughly: parsed trees and the file's bytes."""


@dataclass
class ModelStore:
    """Least recently used models go first. One that is larger than the bound is loaded for its caller and not kept."""

    limit: Callable[[], int]
    _models: "OrderedDict[str, tuple[TabularModel, int]]" = field(default_factory=OrderedDict)
    _loading: dict[str, Lock] = field(default_factory=dict)
    _guard: Lock = field(default_factory=Lock)
    _held: int = 0

    def get(self, digest: str, load: "Callable[[], TabularModel]") -> "TabularModel":
        """The model of this digest, loaded by the first of those who ask at once; the others wait for it."""
        found = self._found(digest)
        if found is not None:
            return found
        with self._guard:
            turn = self._loading.setdefault(digest, Lock())
        try:
            with turn:
                found = self._found(digest)
                return self._keep(digest, load()) if found is None else found
        finally:
            with self._guard:
                self._loading.pop(digest, None)

    @property
    def held_bytes(self) -> int:
        """What the kept models are counted as."""
        return self._held

    def __len__(self) -> int:
        return len(self._models)

    def _found(self, digest: str) -> "TabularModel | None":
        with self._guard:
            if digest not in self._models:
                return None
            self._models.move_to_end(digest)
            return self._models[digest][0]

    def _keep(self, digest: str, model: "TabularModel") -> "TabularModel":
        size, limit = model.size_bytes * WEIGHT, self.limit()
        with self._guard:
            if size <= limit:
                _, counted = self._models.pop(digest, (model, 0))  # two may have loaded it, when it was dropped in between
                self._models[digest] = (model, size)
                self._held += size - counted
                while self._held > limit:
                    _, (_, freed) = self._models.popitem(last=False)
                    self._held -= freed
        return model


MODELS = ModelStore(lambda: settings.MODEL_CACHE_BYTES)
"""The one of this process."""
