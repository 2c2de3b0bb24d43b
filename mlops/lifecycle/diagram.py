"""Life cycles drawn from their tables, for the docs."""

from mlops.lifecycle.mechanism import Lifecycle


def mermaid(lifecycle: Lifecycle) -> str:
    """The life cycle as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", f"    [*] --> {lifecycle.initial}"]
    lines += [f"    {source} --> {target}" for source, target, _ in lifecycle.edges()]
    ends = [state for state in lifecycle.states.values if not lifecycle.moves.get(state)]
    return "\n".join([*lines, *(f"    {end} --> [*]" for end in ends)])
