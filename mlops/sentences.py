"""How sentences count and list things."""

from collections.abc import Iterable


def counted(number: int, one: str, many: str = "") -> str:
    """`1 job`, `1,204 jobs`, `no job`: what there is none of stands in the singular."""
    if number == 0:
        return f"no {one}"
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def some(number: int, one: str, many: str) -> str:
    """A number and what so many do: `none waits`, `1 waits`, `1,204 wait`."""
    return f"{number:,} {one if number == 1 else many}" if number else f"none {one}"


def listed(names: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    every = list(names)
    return " and ".join([", ".join(every[:-1]), every[-1]] if len(every) > 1 else every)
