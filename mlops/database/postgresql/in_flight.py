"""A query that is sent and not waited for, so that Python works while PostgreSQL does and its commit reaches the disk."""

import select
from collections.abc import Sequence
from typing import Any

from django.db import connection
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus

Row = tuple[Any, ...]


class InFlight:
    """Statements, parted by semicolons, on their way. Nothing else may use the thread's connection until `results` has been called."""

    def __init__(self, sql: str, params: Sequence[Any]) -> None:
        with connection.wrap_database_errors, connection.cursor() as cursor:
            query: str = cursor.mogrify(sql, params)
            self._raw = connection.connection
            sending = self._raw.pgconn
            sending.send_query(query.encode(self._raw.info.encoding))
            while sending.flush():
                select.select([], [sending.socket], [])

    def results(self) -> list[list[Row]]:
        """The rows of each statement, once. Raises what executing them would have raised."""
        with connection.wrap_database_errors:
            found = self._all()
            for one in found:
                if one.status == ExecStatus.FATAL_ERROR:
                    raise error_from_result(one, self._raw.info.encoding)
            return [self._rows(one) for one in found]

    def _all(self) -> list[Any]:
        found = []
        try:
            while (result := self._next()) is not None:
                found.append(result)
        except BaseException:
            connection.close()  # interrupted: whoever asked next would read the rest of this answer
            raise
        return found

    def _next(self) -> Any:
        """The next result; None after the last. Waits without holding up other threads, as the job's heart is one."""
        pgconn = self._raw.pgconn
        while pgconn.is_busy():
            select.select([pgconn.socket], [], [])
            pgconn.consume_input()
        return pgconn.get_result()

    def _rows(self, result: Any) -> list[Row]:
        reading = Transformer(self._raw)
        reading.set_pgresult(result)
        return reading.load_rows(0, result.ntuples, tuple) if result.nfields else []
