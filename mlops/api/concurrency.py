"""`ETag` and `If-Match`: a decision on numbers that have changed since is refused."""

from rest_framework.request import Request

from mlops.api.problems import Problem


def etag(kind: str, revision: object) -> str:
    """The strong validator of an object at a revision."""
    return f'"{kind}-{revision}"'


def check_if_match(request: Request, current: str) -> None:
    """Raise 412 if the request names another revision than the current one; no header means no condition. Call it under the lock."""
    wanted = request.headers.get("If-Match")
    if wanted is None or wanted.strip() == "*":
        return
    if current not in [one.strip().removeprefix("W/") for one in wanted.split(",")]:
        raise Problem(412, "stale", "The object has changed since you read it. Read it again, then decide.", current_etag=current)
