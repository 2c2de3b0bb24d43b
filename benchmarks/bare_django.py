"""The least that Django can do for a version, a page of versions and a new champion: one view, one statement, no middleware, nobody asked
who they are, and nothing written but the two states.

What `benchmarks.registry` measures beside ours, to tell what of an answer's time is Django's and the connection's own. Settings come from
the environment: DATABASE_URL of a login that reads every row.
"""

import os

import psycopg
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

if not settings.configured:
    settings.configure(ALLOWED_HOSTS=["*"], MIDDLEWARE=[], ROOT_URLCONF=__name__, SECRET_KEY="only-for-this-benchmark", DEBUG=False)

_connection = psycopg.connect(os.environ["DATABASE_URL"], autocommit=True)
ONE = "SELECT row_to_json(v)::text FROM model_versions v WHERE model_name = %s AND version = %s"
PAGE = """SELECT concat('{"results":[', string_agg(row_to_json(page)::text, ','), ']}') FROM
(SELECT * FROM model_versions WHERE model_name = %s ORDER BY number DESC LIMIT 100) page"""
CROWN = """WITH model AS (SELECT id, customer_id FROM registered_models WHERE name = %s FOR NO KEY UPDATE), former AS
(UPDATE model_versions v SET status = 'deprecated' FROM model m WHERE v.model_id = m.id AND v.status = 'champion' RETURNING v.id)
UPDATE model_versions v SET status = 'champion' FROM model m WHERE v.model_id = m.id AND v.version = %s
AND (SELECT count(*) FROM former) < 2 RETURNING json_build_object('version', v.version)::text"""


def one(_request: HttpRequest, model: str, version: str) -> HttpResponse:
    """A version."""
    return _answer(ONE, model, version)


def page(_request: HttpRequest, model: str) -> HttpResponse:
    """The newest hundred."""
    return _answer(PAGE, model)


def crown(_request: HttpRequest, model: str, version: str) -> HttpResponse:
    """The version takes the place of the model's champion; no trace is left of who wanted it and why."""
    return _answer(CROWN, model, version)


def _answer(statement: str, *values: str) -> HttpResponse:
    row = _connection.execute(statement.encode(), values, prepare=True).fetchone()
    return HttpResponse(row[0] if row else b"", content_type="application/json", status=200 if row else 404)


urlpatterns = [
    path("<str:model>/versions", page),
    path("<str:model>/versions/<str:version>", one),
    path("<str:model>/promote/<str:version>", crown),
]
application = get_wsgi_application()
