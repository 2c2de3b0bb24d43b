"""One small number per row that decides its part, and thresholds between those numbers, in bounded memory."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl

Keys = npt.NDArray[np.uint64]
Codes = npt.NDArray[np.uint16]

LEFT_OUT = np.uint16(65_535)
"""The class of rows that go nowhere: their target, or their time, is unknown."""
MAX_KEYS = 4_000_000
CHUNK = 1 << 20
BINS_BITS = 12
TOP = np.uint64(2**64 - 1)


def row_keys(start: int, count: int, seed: int) -> Keys:
    """A bijective hash of row numbers under a seed: SplitMix64 (Steele, Lea and Flood, 2014). No two rows of a table share one."""
    with np.errstate(over="ignore"):
        key = np.arange(start, start + count, dtype=np.uint64) + np.uint64(_mixed_seed(seed))
        return _mix(key * np.uint64(0x9E3779B97F4A7C15))


def entity_keys(values: pl.Series, seed: int) -> Keys:
    """A hash of each entity under a seed; all rows without one share one key, since nobody knows that they are different."""
    if values.dtype.is_integer():
        keys = _mix(values.cast(pl.Int64).fill_null(0).to_numpy().astype(np.uint64) ^ np.uint64(_mixed_seed(seed)))
        return np.where(values.is_null().to_numpy(), np.uint64(0), keys)
    distinct = values.cast(pl.String).unique().drop_nulls()
    salt = seed.to_bytes(8, "big")
    hashes = [int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8, key=salt).digest(), "big") for text in distinct]
    table = pl.DataFrame({"value": distinct, "key": pl.Series(hashes, dtype=pl.UInt64)})
    found = values.cast(pl.String).alias("value").to_frame().join(table, on="value", how="left", maintain_order="left")["key"]
    return found.fill_null(0).to_numpy()


def time_keys(values: pl.Series) -> Keys:
    """Moments or numbers as unsigned keys in the same order."""
    if values.dtype.is_float():
        bits = (values.fill_null(0.0).to_numpy() + 0.0).view(np.uint64)  # by NumPy, which makes one zero of two; Polars adds nothing
        return np.where(bits >> np.uint64(63) == 1, ~bits, bits | np.uint64(1 << 63))
    return values.to_physical().cast(pl.Int64).fill_null(0).to_numpy().view(np.uint64) ^ np.uint64(1 << 63)


def _mixed_seed(seed: int) -> int:
    return int.from_bytes(hashlib.blake2b(seed.to_bytes(8, "big"), digest_size=8).digest(), "big")


def _mix(key: Keys) -> Keys:
    with np.errstate(over="ignore"):
        key = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        key = (key ^ (key >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return key ^ (key >> np.uint64(31))


@dataclass
class KeyCounts:
    """How many rows have which key, in bounded memory: beyond MAX_KEYS distinct ones neighbors are merged, so that thresholds between
    the keys that remain hold to a fraction of a percent of the rows, and never divide a key."""

    keys: Keys = field(default_factory=lambda: np.empty(0, dtype=np.uint64))
    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    exact: bool = True
    _waiting: list[Keys] = field(default_factory=list)
    _rows: int = 0

    def add(self, keys: Keys) -> None:
        self._waiting.append(keys)
        self._rows += len(keys)
        if self._rows >= CHUNK:
            self.settle()

    def settle(self) -> None:
        """Fold in what waits."""
        if not self._rows:
            return
        fresh, counts = np.unique(np.concatenate(self._waiting), return_counts=True)
        self._waiting, self._rows = [], 0
        merged, place = np.unique(np.concatenate([self.keys, fresh]), return_inverse=True)
        totals = np.zeros(len(merged), dtype=np.int64)
        np.add.at(totals, place, np.concatenate([self.counts, counts]))
        while len(merged) > MAX_KEYS:
            self.exact = False
            odd = len(merged) % 2
            totals = np.concatenate([totals[: len(totals) - odd].reshape(-1, 2).sum(axis=1), totals[len(totals) - odd :]])
            merged = np.concatenate([merged[: len(merged) - odd][1::2], merged[len(merged) - odd :]])
        self.keys, self.counts = merged, totals

    def cut(self, fractions: tuple[float, float, float]) -> tuple[int, int]:
        """The last keys of train and of validation, nearest to the fractions. Needs at least three distinct keys."""
        reached = np.cumsum(self.counts)
        total, last = reached[-1], len(reached) - 1
        first = min(_nearest(reached, fractions[0] * total), last - 2)
        second = min(max(_nearest(reached, (fractions[0] + fractions[1]) * total), first + 1), last - 1)
        return int(self.keys[first]), int(self.keys[second])


def _nearest(reached: npt.NDArray[np.int64], wanted: float) -> int:
    place = int(np.searchsorted(reached, wanted))
    if place == 0:
        return 0
    if place >= len(reached):
        return len(reached) - 1
    return place - 1 if wanted - reached[place - 1] <= reached[place] - wanted else place


def rank_thresholds(codes: Codes, wanted: list[tuple[int, int, int]], seed: int) -> tuple[Keys, Keys]:
    """Per class the keys below which its train, and its train and validation, lie: exactly as many rows as wanted.

    Two walks over the row numbers: a histogram of the keys finds the bin of each threshold, the keys of those bins alone are sorted.
    """
    bins = 1 << BINS_BITS
    shift = np.uint64(64 - BINS_BITS)
    counts = np.zeros((len(wanted), bins), dtype=np.int64)
    for keys, classes in _classified(codes, seed):
        np.add.at(counts, (classes, (keys >> shift).astype(np.int64)), 1)
    reached = np.cumsum(counts, axis=1)
    ends = np.array([[train, train + validation] for train, validation, _ in wanted], dtype=np.int64)
    places = np.array([[int(np.searchsorted(reached[one], end, side="right")) for end in ends[one]] for one in range(len(wanted))])
    inside: dict[tuple[int, int], list[Keys]] = {}
    for keys, classes in _classified(codes, seed):
        binned = (keys >> shift).astype(np.int64)
        hit = (binned == places[classes, 0]) | (binned == places[classes, 1])
        for one, place in set(zip(classes[hit].tolist(), binned[hit].tolist(), strict=True)):
            inside.setdefault((one, place), []).append(keys[(classes == one) & (binned == place)])
    thresholds = np.full((len(wanted), 2), TOP, dtype=np.uint64)
    for one in range(len(wanted)):
        for which in (0, 1):
            place = int(places[one, which])
            if place < bins:
                before = int(reached[one, place - 1]) if place else 0
                thresholds[one, which] = np.sort(np.concatenate(inside[one, place]))[int(ends[one, which]) - before]
    return thresholds[:, 0].copy(), thresholds[:, 1].copy()


def _classified(codes: Codes, seed: int) -> Iterator[tuple[Keys, npt.NDArray[np.int64]]]:
    for start in range(0, len(codes), CHUNK):
        part = codes[start : start + CHUNK]
        kept = part != LEFT_OUT
        yield row_keys(start, len(part), seed)[kept], part[kept].astype(np.int64)
