"""A crawl keeps off private networks, also where a public name leads to one."""

import subprocess
import sys
import textwrap

import pytest

from scraper.spiders.private_networks import is_private


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("127.0.0.1", True),
        ("10.1.2.3", True),
        ("172.16.0.1", True),
        ("192.168.0.1", True),
        ("169.254.169.254", True),  # where clouds keep a machine's credentials
        ("100.64.0.1", True),
        ("0.0.0.0", True),
        ("224.0.0.1", True),
        ("[::1]", True),
        ("fe80::1%eth0", True),
        ("fd00::1", True),
        ("::ffff:10.0.0.1", True),
        ("93.184.216.34", False),
        ("2606:4700::1111", False),
        ("mill.example", False),
    ],
)
def test_private_addresses(address: str, private: bool) -> None:
    assert is_private(address) is private


def test_a_name_that_leads_to_this_machine_is_resolved_only_where_the_configuration_names_it() -> None:
    script = """
        from twisted.internet import reactor
        from scraper.spiders.private_networks import GuardedResolver

        def look_up(named):
            resolver = GuardedResolver(reactor, named, 5.0)
            return resolver.getHostByName("localhost").addCallbacks(print, lambda failure: print(failure.value))

        reactor.callWhenRunning(
            lambda: look_up({"localhost"}).addCallback(lambda _: look_up(set())).addCallback(lambda _: reactor.stop())
        )
        reactor.run()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=120, check=True
    )
    allowed, refused = done.stdout.splitlines()
    assert allowed == "127.0.0.1"
    assert refused.endswith("localhost leads to the private address 127.0.0.1.")
