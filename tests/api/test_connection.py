"""What our own connection adds to uvicorn's: a hang-up told at once, one write per turn."""

from __future__ import annotations

import asyncio

import pytest

from stoker.api.connection import _InOneWrite

pytestmark = pytest.mark.slow


class Written:
    """A transport that remembers its writes."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes) -> None:
        self.writes.append(data)

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed


def kept_back(clients: int = 1) -> tuple[_InOneWrite, Written]:
    written = Written()
    return _InOneWrite(written, asyncio.get_running_loop(), range(clients)), written


async def test_head_and_body_are_one_write():
    transport, written = kept_back()

    transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
    transport.write(b"body")
    transport.write(b"more")

    assert written.writes == [b"HTTP/1.1 200 OK\r\n\r\nbody", b"more"]


async def test_with_other_clients_a_turn_of_the_loop_is_one_write():
    transport, written = kept_back(clients=2)

    transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
    transport.write(b"body")
    transport.write(b"more")
    assert written.writes == []
    await asyncio.sleep(0)
    transport.write(b"later")
    await asyncio.sleep(0)

    assert written.writes == [b"HTTP/1.1 200 OK\r\n\r\nbodymore", b"later"]


@pytest.mark.parametrize("clients", [1, 2])
async def test_a_head_without_a_body_goes_out_in_the_next_turn(clients):
    transport, written = kept_back(clients)

    transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    assert written.writes == [b"HTTP/1.1 200 OK\r\n\r\n"]


@pytest.mark.parametrize("clients", [1, 2])
async def test_nothing_is_lost_on_closing(clients):
    transport, written = kept_back(clients)

    transport.write(b"HTTP/1.1 204 No Content\r\n\r\n")
    transport.close()

    assert written.writes == [b"HTTP/1.1 204 No Content\r\n\r\n"]
    assert written.is_closed


async def test_what_is_kept_for_a_client_that_is_gone_is_dropped():
    transport, written = kept_back(clients=2)

    transport.write(b"body")
    written.close()
    await asyncio.sleep(0)

    assert written.writes == []


async def test_a_whole_answer_arrives_in_one_piece(kit, chat):
    async with kit.server() as house:
        host, port = house.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        body = b'{"messages":[{"role":"user","content":"hi"}]}'
        writer.write(b"POST /v1/p1 HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body))
        writer.write(body)
        first = await reader.read(2**16)
        writer.close()

    head, _, rest = first.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert rest.startswith(b"{")
