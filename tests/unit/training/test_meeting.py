import socket
from datetime import timedelta

import pytest

from ratchet.training.meeting import loopback_interface, loopback_store
from wire.loopback import is_loopback


@pytest.mark.parametrize(
    ("host", "is_own"),
    [
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("localhost", True),
        ("LocalHost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.4", False),
        ("localhost.example.org", False),
        ("trainer-node-0-0.trainer", False),
        ("", False),
    ],
)
def test_only_an_address_of_loopback_or_localhost_is_on_this_machine(host, is_own):
    assert is_loopback(host) is is_own


def test_the_first_who_comes_holds_the_store_and_whoever_comes_later_uses_it():
    timeout = timedelta(seconds=10)
    first = loopback_store("127.0.0.1", 0, is_first=None, timeout=timeout)
    second = loopback_store("127.0.0.1", first.port, is_first=None, timeout=timeout)
    first.set("x", "1")
    assert second.get("x") == b"1"


def test_a_store_that_must_be_held_here_says_that_its_port_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"port {port} of 127.0.0.1 is taken"):
            loopback_store("127.0.0.1", port, is_first=True, timeout=timedelta(seconds=1))


def test_the_interface_is_one_of_this_machine():
    assert loopback_interface() in dict(socket.if_nameindex()).values()
