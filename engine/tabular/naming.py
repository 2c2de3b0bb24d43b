"""What a column of a foreign table may be called."""

from collections.abc import Sequence

from engine.frames.problems import Findings, refuse
from engine.tabular.limits import MAX_NAME


def check_names(names: Sequence[str], *, most: int, findings: Findings) -> None:
    """Find names that no column can have. Raises FrameError where there are more than `most`."""
    if len(names) > most:
        raise refuse("too_many_columns", f"The table has {len(names)} columns; {most} are allowed.")
    nameless = [str(position) for position, name in enumerate(names, start=1) if not name.strip()]
    if nameless:
        told = f"Columns without a name, by position: {', '.join(nameless[:20])}. Name them in the header, or leave them out"
        findings.error("unusable_name", f"{told}; the first is often an index, which pandas leaves out when told index=False.")
    unusable = [name for name in names if len(name) > MAX_NAME or "\0" in name or not _is_text(name)]
    if unusable:
        told = f"{len(unusable)} columns have names that are longer than {MAX_NAME} characters, or no text; rename them."
        findings.error("unusable_name", told, examples=[name.encode("ascii", "backslashreplace").decode() for name in unusable])


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
