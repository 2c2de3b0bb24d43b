"""`Idempotency-Key`: the same POST, sent twice, is performed once and answered the same.

The record is inserted before the act, in its transaction. A second request with the key waits for the first (unique index), then finds its
answer. What fails leaves no record: the client may try again with the same key.
"""

import hashlib
from typing import Any

import orjson
from django.core.files.uploadedfile import UploadedFile
from django.db import IntegrityError, transaction
from rest_framework.request import Request
from rest_framework.response import Response

from mlops.api.json import dumps
from mlops.api.models import IdempotencyRecord
from mlops.api.problems import Problem

HEADER = "Idempotency-Key"
LONGEST = 200
KEPT_HEADERS = ("ETag", "Location")


class Replay(Exception):
    """This POST was performed before; `response` is what it answered."""

    def __init__(self, response: Response) -> None:
        super().__init__("replayed")
        self.response = response


def prepare(request: Request, principal_name: str) -> IdempotencyRecord:
    """The record of this POST, not written yet. Reads the whole body, so call it before a transaction. Raises a 400 problem."""
    key = request.headers[HEADER]
    if not 1 <= len(key) <= LONGEST or not key.isprintable() or not key.isascii():
        raise Problem(400, "invalid", f"{HEADER} must be 1 to {LONGEST} printable ASCII characters.")
    return IdempotencyRecord(principal=principal_name, key=key, fingerprint=_fingerprint(request))


def begin(record: IdempotencyRecord) -> None:
    """Claim the key, in the transaction of the act.

    Raises Replay when the POST was performed before, and a 409 problem when the key was used for another one.
    """
    try:
        with transaction.atomic():
            record.save(force_insert=True)
    except IntegrityError:
        earlier = IdempotencyRecord.objects.get(principal=record.principal, key=record.key)
        if earlier.fingerprint != record.fingerprint:
            raise Problem(409, "idempotency_key_reused", f"This {HEADER} was used for another request.") from None
        kept = orjson.loads(earlier.answer)
        headers = {**kept["headers"], "Idempotency-Replayed": "true"}
        raise Replay(Response(kept["body"], status=earlier.status, headers=headers)) from None


def finish(record: IdempotencyRecord, response: Response) -> None:
    """Keep the answer."""
    headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
    answer = dumps({"headers": headers, "body": response.data}).decode()
    IdempotencyRecord.objects.filter(pk=record.pk).update(status=response.status_code, answer=answer)


def _fingerprint(request: Request) -> str:
    digest = hashlib.sha256(f"{request.method} {request.get_full_path()}\n".encode())
    data: Any = request.data
    if hasattr(data, "lists"):
        for name, values in sorted(data.lists()):
            for value in values:
                content = _file_digest(value) if isinstance(value, UploadedFile) else hashlib.sha256(str(value).encode()).digest()
                digest.update(hashlib.sha256(name.encode()).digest() + content)  # digests: no name can pass for a part of a value
    else:
        digest.update(orjson.dumps(data, option=orjson.OPT_SORT_KEYS))
    return digest.hexdigest()


def _file_digest(file: "UploadedFile[Any]") -> bytes:
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    file.seek(0)
    return digest.digest()
