"""The connections to an engine, against a server that writes what it is told."""

import asyncio
import socket
from contextlib import asynccontextmanager

import pytest
import uvloop

from stoker.engines.http1 import Broken, Connections, Stalled

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"


class Server:
    """Writes an answer per request; then it waits for the client to leave, or leaves first."""

    def __init__(self, *answers: bytes, stays: bool) -> None:
        self.answers = list(answers)
        self.stays = stays
        self.heads: list[bytes] = []
        self.connections = 0
        self.was_left = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while self.answers:
                self.heads.append(await reader.readuntil(b"\r\n\r\n"))
                await reader.readexactly(2)
                writer.write(self.answers.pop(0))
            if self.stays:
                await reader.read()
                self.was_left.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            self.was_left.set()
        finally:
            writer.close()


@asynccontextmanager
async def talking_to(*answers, keepalive_s=5.0, stays=True):
    server = Server(*answers, stays=stays)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/under"
    connections = Connections(url, keepalive_s=keepalive_s, connect_timeout_s=5)
    try:
        yield server, connections
    finally:
        connections.close()
        await asyncio.sleep(0.01)
        listening.close()
        await listening.wait_closed()


async def ask(connections: Connections) -> bytes:
    answer = await connections.post("/v1/x", b"A: b\r\n", b"{}")
    try:
        return await answer.read()
    finally:
        answer.close()


async def test_a_connection_serves_again_once_its_answer_was_read():
    async with talking_to(HEAD % 2 + b"ab", HEAD % 0) as (server, connections):
        assert await ask(connections) == b"ab"
        assert await ask(connections) == b""

    assert server.connections == 1
    assert server.heads[0].startswith(b"POST /under/v1/x HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"\r\nA: b\r\nContent-Length: 2\r\n" in server.heads[0]


async def test_a_connection_that_was_idle_for_long_is_not_used_again():
    async with talking_to(HEAD % 0, HEAD % 0, keepalive_s=-1.0) as (server, connections):
        await ask(connections)
        await ask(connections)

    assert server.connections == 2


async def test_an_engine_that_says_close_is_believed():
    answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    async with talking_to(answer, HEAD % 0) as (server, connections):
        await ask(connections)
        await ask(connections)

    assert server.connections == 2


async def test_chunks_are_put_together():
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    async with talking_to(answer) as (_, connections):
        assert await ask(connections) == b"abc"


async def test_a_body_without_a_length_ends_with_its_connection():
    async with talking_to(b"HTTP/1.1 200 OK\r\n\r\nabc", stays=False) as (_, connections):
        assert await ask(connections) == b"abc"


async def test_an_interim_answer_is_not_the_answer():
    async with talking_to(b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD % 1 + b"a") as (_, connections):
        answer = await connections.post("/", b"", b"{}")
        assert (answer.status, await answer.read()) == (200, b"a")


@pytest.mark.parametrize(
    "half", [HEAD % 5 + b"ab", b"HTTP/1.1 200 OK\r\nContent-", b"SSH-2.0-x\r\n"]
)
async def test_half_an_answer_is_broken_and_not_asked_for_again(half):
    async with talking_to(half, stays=False) as (server, connections):
        with pytest.raises(Broken):
            await ask(connections)

    assert len(server.heads) == 1


async def test_bytes_that_nobody_asked_for_end_the_connection():
    async with talking_to(HEAD % 0 + HEAD % 0, HEAD % 1 + b"b") as (server, connections):
        await ask(connections)
        assert await ask(connections) == b"b"

    assert server.connections == 2


async def test_a_reader_that_waits_too_long_is_told():
    async with talking_to(HEAD % 5 + b"ab") as (_, connections):
        answer = await connections.post("/", b"", b"{}")
        await answer.read_piece()
        with pytest.raises(Stalled):
            await answer.read_piece(0.01)
        answer.close()


async def test_hanging_up_is_seen_by_the_engine():
    async with talking_to(HEAD % 5 + b"ab") as (server, connections):
        answer = await connections.post("/", b"", b"{}")
        answer.close()
        async with asyncio.timeout(5):
            await server.was_left.wait()


async def test_an_engine_that_is_faster_than_its_reader_is_made_to_wait():
    size = 2**24
    async with talking_to(HEAD % size + bytes(size)) as (_, connections):
        answer = await connections.post("/", b"", b"{}")
        await asyncio.sleep(0.05)
        first = await answer.read_piece()
        rest = await answer.read()

    assert len(first) < size / 2
    assert len(first) + len(rest) == size


async def test_small_writes_are_not_kept_back():
    async with talking_to(HEAD % 0) as (_, connections):
        answer = await connections.post("/", b"", b"{}")
        [connection] = connections._all
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        answer.close()


async def test_a_request_beside_another_is_written_too():
    async with talking_to(HEAD % 1 + b"a", HEAD % 1 + b"b") as (_, connections):
        first = await connections.post("/", b"", b"{}")  # not read yet: under way
        assert await ask(connections) == b"b"
        assert await first.read() == b"a"


def test_a_connection_that_goes_before_its_request_is_written_makes_no_error():
    wrong = []

    async def scene():
        asyncio.get_running_loop().set_exception_handler(lambda _, told: wrong.append(told))
        async with talking_to(*[HEAD % 1 + b"a"] * 3) as (server, connections):
            held = await connections.post("/", b"", b"{}")  # under way
            assert await ask(connections) == b"a"
            [idle] = connections._idle
            idle._transport.abort()  # and its request is asked before we are told
            assert await ask(connections) == b"a"
            held.close()
            return server.connections

    assert uvloop.run(scene()) == 3
    assert wrong == []
