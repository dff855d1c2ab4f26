"""A page in somebody's browser may not use a server that needs no keys, wherever it comes from."""

import pytest

from stoker.api.browsers import check_browser
from stoker.core.errors import NotAllowed

pytestmark = pytest.mark.virtual_time


def scope(host="127.0.0.1:8080", origin=None):
    headers = [(b"host", host.encode())]
    return {"headers": headers + ([(b"origin", origin.encode())] if origin else [])}


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "spark", "spark.local", "10.0.0.7"]
)
def test_a_client_that_is_no_browser_may_ask_under_any_name_of_its_own_network(host):
    check_browser(scope(host), ())


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("localhost:8080", "http://127.0.0.1:3000"),
        ("spark.local:8080", "http://spark.local:8080"),
    ],
)
def test_our_own_page_may_ask(host, origin):
    check_browser(scope(host, origin), ())


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://10.0.0.9", "null", "http://localhost.evil.example"]
)
def test_a_foreign_page_may_not(origin):
    with pytest.raises(NotAllowed, match=r"server\.allowed_hosts"):
        check_browser(scope(origin=origin), ("chat.example",))


def test_a_page_whose_name_has_come_to_mean_this_machine_may_not():
    with pytest.raises(NotAllowed, match=r"Host: rebound\.example"):
        check_browser(scope("rebound.example:8080", "http://rebound.example:8080"), ())


def test_who_is_named_in_the_configuration_may():
    check_browser(scope("box.example", "https://chat.example"), ("box.example", "chat.example"))


async def test_a_post_of_a_foreign_page_is_refused_before_anything_is_done(kit):
    async with kit.house() as house:
        reply = await house.call(
            "POST", "/v1/p0/lease", {"seconds": 30}, headers={"origin": "https://evil.example"}
        )

        assert reply.status == 403
        assert reply.error["code"] == "not_allowed"
        assert house.fabric.leases() == []
