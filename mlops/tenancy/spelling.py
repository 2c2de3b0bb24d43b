"""One spelling for all that read as the same name. Pure."""

import unicodedata


def one_spelling(name: str) -> str:
    """Without what differs in case or width alone: NFKC, folded."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
