"""Whom a request is counted for."""

from typing import Any

import pytest

from mlops import addresses

HERE = "192.0.2.1"


@pytest.mark.parametrize(
    ("connected", "behind", "forwarded", "expected"),
    [
        (HERE, False, "1.2.3.4", HERE),
        (HERE, True, "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        (HERE, True, "", HERE),
        (HERE, True, "2001:db8:1:2:3::9", "2001:db8:1:2::/64"),
        (HERE, True, "unknown", "unknown"),
        ("2001:db8:1:2:3::9", False, "", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", False, "", HERE),
        ("", False, "", ""),
    ],
)
def test_a_sender_is_counted_by_the_address_the_proxy_saw_or_the_connected_one(
    connected: str, behind: bool, forwarded: str, expected: str, settings: Any
) -> None:
    settings.BEHIND_PROXY = behind

    found = addresses.counted({"REMOTE_ADDR": connected, "HTTP_X_FORWARDED_FOR": forwarded})

    assert found == expected


def test_two_senders_of_ipv4_on_a_socket_for_both_are_two() -> None:
    assert addresses.counted({"REMOTE_ADDR": "::ffff:192.0.2.1"}) != addresses.counted({"REMOTE_ADDR": "::ffff:198.51.100.7"})
