"""Outbound calls reach only the public internet: forms of address, names that lie, names that change their mind."""

import socket
from collections.abc import Callable
from typing import Any

import pytest

from mlops.outbound import client
from mlops.outbound.addresses import refusal
from mlops.outbound.targets import Refused, Unreachable, parse, resolve

INNER = [
    # IPv4, plainly
    "127.0.0.1", "127.0.0.2", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.254",
    "192.168.0.1", "192.168.255.255", "169.254.0.1", "169.254.169.254", "100.64.0.1", "100.100.100.200", "100.127.255.255", "192.0.0.1",
    "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.9",
    "224.0.0.1", "239.255.255.250",
    "240.0.0.1", "255.255.255.255", "168.63.129.16", "192.31.196.1", "192.52.193.1", "192.175.48.1",
    # IPv6
    "[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::ffff:8.8.8.8]",
    "[::ffff:a9fe:a9fe]", "[::127.0.0.1]",
    "[::ffff:0:127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b::169.254.169.254]", "[64:ff9b:1::a00:1]", "[2002:7f00:1::]",
    "[2002:a9fe:a9fe::1]",
    "[2001:0:4136:e378:8000:63bf:3fff:fdd2]", "[2001:2::1]", "[2001:10::1]", "[2001:db8::1]", "[3fff::1]", "[5f00::1]", "[100::1]",
    "[fc00::1]", "[fd00:ec2::254]", "[fe80::1]", "[febf::1]", "[fec0::1]", "[ff02::1]", "[ff0e::1]", "[4000::1]", "[2620:4f:8000::1]",
    # IPv4 as some programs read it
    "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "0x7f.1", "0", "127.0.0.1.", "010.0.0.1",
    "256.256.256.256", "1.2.3.4.5", "[::1", "[::1%25lo]", "[fe80::1%25eth0]", "[not-an-address]",
    # what only looks like a host
    "127.0.0.1@public.example", "public.example@127.0.0.1", "public.example:0", "public.example:99999", "public.example\\@127.0.0.1",
    "pub lic.example", "public.example#@127.0.0.1", "１２７.0.0.1", "", "-public.example", "127。0。0。1",
]  # fmt: skip
NAMES = {
    "localhost": ["127.0.0.1"],
    "app.localhost": ["::1"],
    "metadata.google.internal": ["169.254.169.254"],
    "127.0.0.1.nip.io": ["127.0.0.1"],
    "both.example": ["93.184.215.14", "10.0.0.1"],
    "mapped.example": ["::ffff:10.0.0.1"],
    "translated.example": ["64:ff9b::a00:1"],
    "linklocal.example": ["fe80::1%eth0"],
}
Resolver = Callable[..., list[Any]]


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every address that anybody tried to connect to; the attempts themselves fail."""
    attempts: list[Any] = []

    def connect(_: socket.socket, address: Any) -> None:
        attempts.append(address)
        raise ConnectionRefusedError(111, "refused by the test")

    monkeypatch.setattr(socket.socket, "connect", connect)
    return attempts


def resolving(answers: dict[str, list[list[str]]]) -> Resolver:
    """A resolver whose names may answer otherwise each time they are asked."""

    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        addresses = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return getaddrinfo


@pytest.mark.parametrize("host", INNER)
def test_no_form_of_an_inner_address_is_called(host: str, connected: list[Any]) -> None:
    with pytest.raises((Refused, Unreachable)):
        client.check(f"https://{host}/hook", allowed_hosts=())
    with pytest.raises((Refused, Unreachable)):
        client.post(f"https://{host}/hook", body=b"{}", headers={}, allowed_hosts=())

    assert connected == []


def test_at_least_seventy_forms_are_tried() -> None:
    assert len(set(INNER)) >= 70


@pytest.mark.parametrize("name", NAMES)
def test_names_that_lead_inside_are_refused(name: str, connected: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolving({name: [NAMES[name]]}))

    with pytest.raises(Refused, match="not on the public internet") as refusal:
        client.post(f"https://{name}/", body=b"{}", headers={}, allowed_hosts=())

    assert connected == []
    assert str(refusal.value) == f"{name} leads to an address that is not on the public internet."


def test_a_name_is_resolved_once_so_rebinding_gains_nothing(connected: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {"rebinding.example": [["93.184.215.14"], ["127.0.0.1"], ["127.0.0.1"]]}
    monkeypatch.setattr(socket, "getaddrinfo", resolving(answers))

    with pytest.raises(Unreachable):
        client.post("https://rebinding.example/", body=b"{}", headers={}, allowed_hosts=())

    assert connected == [("93.184.215.14", 443)]


def test_a_name_that_turned_inside_after_saving_is_refused_at_sending(connected: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", resolving({"turning.example": [["93.184.215.14"], ["10.0.0.1"]]}))
    client.check("https://turning.example/", allowed_hosts=())

    with pytest.raises(Refused):
        client.post("https://turning.example/", body=b"{}", headers={}, allowed_hosts=())

    assert connected == []


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "2a00:1450::1"])
def test_public_addresses_are_called(address: str) -> None:
    assert refusal(address) == ""


@pytest.mark.parametrize(
    "url",
    [
        "ftp://public.example/",
        "file:///etc/passwd",
        "gopher://public.example/",
        "javascript:alert(1)",
        "//x/",
        "http://public.example/",
        "https:",
        "https://a/\r\nHost: b",
    ],
)
def test_only_https_is_spoken(url: str) -> None:
    with pytest.raises(Refused):
        parse(url, allowed_hosts=())


@pytest.mark.parametrize("entry", ["127.0.0.1", "127.0.0.1:9000"])
def test_a_host_the_operator_names_may_be_private_and_plain(entry: str) -> None:
    target = parse("http://127.0.0.1:9000/hook?a=1", allowed_hosts=[entry])

    assert (target.allowed, target.host, target.port, target.path) == (True, "127.0.0.1", 9000, "/hook?a=1")
    assert resolve(target) == ["127.0.0.1"]


def test_an_entry_with_a_port_allows_no_other_port() -> None:
    with pytest.raises(Refused):
        parse("http://127.0.0.1:9001/", allowed_hosts=["127.0.0.1:9000"])


def test_a_name_that_does_not_resolve_in_time_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    release = threading.Event()
    monkeypatch.setattr("mlops.outbound.targets.RESOLVE_SECONDS", 0.05)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: release.wait(5) and [])

    with pytest.raises(Unreachable, match="no answer within"):
        client.check("https://slow.example/", allowed_hosts=())

    release.set()
