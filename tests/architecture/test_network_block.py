"""The fixture that every test runs under: no other machine can be reached."""

from __future__ import annotations

import socket

import pytest


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", b"192.0.2.1"])
def test_connecting_to_another_machine_fails_the_test(host: str) -> None:
    family = socket.AF_INET6 if ":" in str(host) else socket.AF_INET
    with socket.socket(family) as sock, pytest.raises(pytest.fail.Exception, match="network"):
        sock.connect((host, 80))


def test_looking_up_a_name_fails_the_test() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"reached for the network: example\.org"):
        socket.create_connection(("example.org", 80), timeout=1)


def test_this_machine_stays_reachable() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname(), timeout=5) as client,
    ):
        assert client.getpeername() == server.getsockname()
