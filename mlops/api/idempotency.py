"""`Idempotency-Key`: the same POST, sent twice, is performed once and answered the same.

The key is claimed in a short transaction of its own, before the act; no lock is held while a body is read or a file is looked into. A
repeat meanwhile is 409 with `Retry-After`. The answer is stored in the transaction of the act where that is one (every view but those of
files). What fails gives the key back. A request that is killed leaves a claim, which another may take over after CLAIM: whoever lost its
claim cannot commit any more, since every act writes an audit event and that checks the claim in the same transaction.
"""

import hashlib
import uuid
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.core.files.uploadedfile import UploadedFile
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from rest_framework.parsers import MultiPartParser
from rest_framework.response import Response

from mlops.api.json import JSONProblem, dumps, loads
from mlops.api.models import IdempotencyRecord
from mlops.api.problems import Problem
from mlops.audit.services import witnessed
from mlops.database.reading import reading
from mlops.errors import DomainError

HEADER = "Idempotency-Key"
LONGEST = 200
KEPT_HEADERS = ("ETag", "Location")
CLAIM = timedelta(minutes=5)
"""Longer than any request may take: a body is there before its key is claimed."""


class ClaimLost(DomainError):
    """Another request took the key over, because this one took too long. Nothing was changed."""

    code = "idempotency_claim_lost"

    def __init__(self) -> None:
        super().__init__(f"The request took longer than its {HEADER} is held, and another one took it over. Nothing was changed.")


@dataclass
class Claim:
    """That this request performs the POST of a record."""

    record_id: uuid.UUID
    token: uuid.UUID
    answered: bool = False

    def perform(self) -> None:
        """Write down, in the transaction of the act, that it is performed. Raises ClaimLost, so that the act is not."""
        if not self._mine().update(performed_at=timezone.now()):
            raise ClaimLost

    def answer(self, response: Response) -> None:
        """Keep the answer, in the caller's transaction if there is one. Raises ClaimLost."""
        headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
        kept = dumps({"headers": headers, "body": response.data}).decode()
        with transaction.atomic():
            if not self._mine().update(status=response.status_code, answer=kept):
                raise ClaimLost
        self.answered = True

    def release(self) -> None:
        """Give the key back after a failure; what was performed all the same stays claimed for good."""
        with transaction.atomic():
            self._mine().filter(performed_at=None).delete()

    def _mine(self) -> Any:
        return IdempotencyRecord.objects.filter(pk=self.record_id, claim=self.token, status=0)


def claim(request: HttpRequest, view_class: Any, *, principal_name: str, at: datetime) -> Claim | HttpResponse:
    """Claim the key of this POST, in a transaction of its own; or the answer of the one that was performed before.

    Reads the whole body. Raises a 400 problem for a bad key, 409 for one that was used for another POST or is under way.
    """
    key = request.headers[HEADER]
    if not 1 <= len(key) <= LONGEST or not key.isprintable() or not key.isascii():
        raise Problem(400, "invalid", f"{HEADER} must be 1 to {LONGEST} printable ASCII characters.")
    fingerprint = _fingerprint(request, takes_forms=MultiPartParser in view_class.parser_classes)
    record = IdempotencyRecord(principal=principal_name, key=key, fingerprint=fingerprint, expires_at=at + CLAIM)
    try:
        with transaction.atomic():
            record.save(force_insert=True)
    except IntegrityError:
        return _of_earlier(record, at=at)
    return Claim(record.pk, record.claim)


def not_taken() -> Problem:
    """The refusal of a view that declares so."""
    message = "Not taken here: this call changes nothing, or its answer holds a secret, which is not kept for a replay."
    return Problem(400, "invalid", f"This call takes no {HEADER}.", errors=[{"field": HEADER, "message": message, "code": "invalid"}])


def watched(held: Claim, *, one_transaction: bool) -> ExitStack:
    """Around the view: its acts are bound to the claim; with `one_transaction` the answer is committed together with them."""
    stack = ExitStack()
    stack.enter_context(witnessed(held.perform))
    if one_transaction:
        stack.enter_context(transaction.atomic())
    return stack


def _of_earlier(record: IdempotencyRecord, *, at: datetime) -> Claim | HttpResponse:
    with reading():
        earlier = IdempotencyRecord.objects.filter(principal=record.principal, key=record.key).first()
    if earlier is None:  # given back just now
        raise _in_progress(1)
    if earlier.fingerprint != record.fingerprint:
        raise Problem(409, "idempotency_key_reused", f"This {HEADER} was used for another request.")
    if earlier.status:
        return _replayed(earlier)
    if earlier.performed_at is not None and earlier.expires_at <= at:
        raise Problem(409, "idempotency_answer_lost", "The request was performed, but its answer was lost. Look at what it made.")
    if earlier.expires_at > at:
        raise _in_progress(2)
    with transaction.atomic():
        mine = IdempotencyRecord.objects.filter(pk=earlier.pk, claim=earlier.claim, status=0, performed_at=None)
        if not mine.update(claim=record.claim, expires_at=record.expires_at):
            raise _in_progress(1)
    return Claim(earlier.pk, record.claim)


def _in_progress(seconds: int) -> Problem:
    detail = f"A request with this {HEADER} is under way. Send it again in a moment for its answer."
    return Problem(409, "idempotency_in_progress", detail, headers={"Retry-After": str(seconds)})


def _replayed(earlier: IdempotencyRecord) -> HttpResponse:
    kept = orjson.loads(earlier.answer)
    headers = {**kept["headers"], "Idempotency-Replayed": "true"}
    content = b"" if kept["body"] is None else dumps(kept["body"])
    return HttpResponse(content, status=earlier.status, content_type="application/json", headers=headers)


def _fingerprint(request: HttpRequest, *, takes_forms: bool) -> str:
    digest = hashlib.sha256(f"{request.method} {request.get_full_path()}\n".encode())
    if takes_forms and request.content_type == "multipart/form-data":
        given: list[tuple[str, Any]] = [*sorted(request.POST.lists()), *sorted(request.FILES.lists())]
        for name, values in given:
            for value in values:
                content = _file_digest(value) if isinstance(value, UploadedFile) else hashlib.sha256(str(value).encode()).digest()
                digest.update(hashlib.sha256(name.encode()).digest() + content)  # digests: no name can pass for a part of a value
    else:
        digest.update(_canonical(request.body))
    return digest.hexdigest()


def _canonical(body: bytes) -> bytes:
    """JSON the same however it was written; what is no JSON as it is, for the view to refuse."""
    try:
        return orjson.dumps(loads(body) if body.strip() else {}, option=orjson.OPT_SORT_KEYS)
    except JSONProblem:
        return body


def _file_digest(file: "UploadedFile[Any]") -> bytes:
    digest = hashlib.sha256()
    for chunk in file.chunks():
        digest.update(chunk)
    file.seek(0)
    return digest.digest()
