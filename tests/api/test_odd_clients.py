"""Clients that are odd but legal, and some that are not: byte for byte, over a real socket."""

from __future__ import annotations

import asyncio
import gzip
import json

import pytest

CHAT = "/v1/chat/completions"
BODY = json.dumps({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2}).encode()


class Answer:
    """One answer, as it came."""

    def __init__(self, raw):
        head, _, self.body = raw.partition(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        self.status = int(line.split()[1])
        self.headers = {name.lower(): value for name, value in (f.split(": ", 1) for f in fields)}

    @property
    def error(self):
        return json.loads(self.body)["error"]


def asking(path=CHAT, body=BODY, *, method="POST", version="1.1", length=None, **headers):
    sized = {"content_length": len(body) if length is None else length} if body else {}
    fields = {"host": "localhost", "connection": "close", **sized, **headers}
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    return "\r\n".join([f"{method} {path} HTTP/{version}", *lines, "", ""]).encode() + body


async def said(house, *pieces, pause_s=0.0):
    """Everything that the server says to these pieces until it hangs up."""
    host, port = house.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()


async def test_an_old_client_a_chunked_body_and_one_that_asks_first_are_answered(kit):
    half = len(BODY) // 2
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in (BODY[:half], BODY[half:]))
    chunked = asking(body=b"", transfer_encoding="chunked") + chunks + b"0\r\n\r\n"
    asks_first = asking(body=b"", length=None, content_length=len(BODY), expect="100-continue")
    async with kit.server() as house:
        old = Answer(await said(house, asking(version="1.0")))
        in_chunks = Answer(await said(house, chunked))
        first = await said(house, asks_first, BODY, pause_s=0.05)
        azure = Answer(await said(house, asking(f"{CHAT}?api-version=2024-10-21")))
        form = Answer(await said(house, asking(content_type="application/x-www-form-urlencoded")))

    go_on, _, rest = first.partition(b"\r\n\r\n")
    assert go_on == b"HTTP/1.1 100 Continue"
    for answer in (old, in_chunks, Answer(rest), azure, form):
        assert answer.status == 200
        assert json.loads(answer.body)["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize("encoding", ["gzip", "br", "DEFLATE", "gzip, identity"])
@pytest.mark.parametrize(
    "path", [CHAT, "/v1/p2", "/v1/responses", "/v1/batches", "/v1/files", "/v1/p0/lease"]
)
async def test_a_compressed_body_is_a_415_that_says_what_to_do(kit, path, encoding):
    headers = {"content-encoding": encoding, "content-type": "multipart/form-data; boundary=x"}
    async with kit.house_now(kit.config()) as house:
        reply = await house.call("POST", path, gzip.compress(BODY), headers=headers)
        plain = await house.call("POST", "/v1/p1", BODY, headers={"content-encoding": "identity"})

    assert (reply.status, reply.error["code"]) == (415, "unsupported_encoding")
    assert reply.error["param"] == "Content-Encoding"
    assert reply.headers["accept-encoding"] == "identity"
    assert reply.headers["x-should-retry"] == "false"
    assert plain.status == 200


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        (f"{CHAT}/", CHAT),
        (f"/{CHAT}", CHAT),
        ("/v1//chat/completions", CHAT),
        (f"/v1{CHAT}", CHAT),
        ("/chat/completions", CHAT),
        ("/openai/v1/chat/completions", CHAT),
        ("/openai/deployments/gpt-4o/chat/completions", CHAT),
        ("/v1/deployments/gpt-4o/chat/completions", CHAT),
        ("/messages", "/v1/messages"),
    ],
)
async def test_a_path_that_is_nearly_right_is_told_the_right_one(kit, path, meant):
    async with kit.house_now(kit.config()) as house:
        reply = await house.call("POST", path, BODY)

    assert (reply.status, reply.error["code"]) == (404, "not_found")
    assert reply.error["message"].endswith(f"; is {meant} meant?")


async def test_a_path_that_is_like_none_is_told_nothing(kit):
    async with kit.house_now(kit.config()) as house:
        replies = [
            await house.call("POST", path, BODY) for path in ("/", "/v1/", "/x", "/v1/v2/x", "//")
        ]

    for reply in replies:
        assert reply.status in {404, 405}
        assert "meant" not in reply.error["message"]


async def test_a_head_that_does_not_end_is_cut_off_before_it_fills_the_ram(kit):
    async with kit.server() as house:
        begun = asking(body=b"", method="GET").rstrip(b"\r\n") + b"\r\n"
        answers = [
            Answer(await said(house, *pieces, pause_s=0.05))
            for pieces in (
                (begun + b"x-long: ", b"a" * 40_000, b"a" * 40_000),
                (begun, b"x-one: a\r\n" * 4_000, b"x-one: a\r\n" * 4_000),
                (b"GET /", b"a" * 40_000, b"a" * 40_000),
            )
        ]
        fits = Answer(await said(house, asking("/healthz", b"", method="GET", x_long="a" * 50_000)))

    for answer in answers:
        assert (answer.status, answer.error["code"]) == (431, "head_too_large")
        assert answer.headers["connection"] == "close"
    assert fits.status == 200


async def test_asking_for_the_head_of_a_stream_does_not_wait_for_its_end(kit):
    async with kit.server(natural_tokens=100_000) as house:
        asked = {"input": "x", "background": True, "stream": True}
        async with house.session.post("/v1/responses", json=asked) as streamed:
            first = json.loads((await streamed.content.readuntil(b"\n\n")).split(b"data: ")[1])
            id = first["response"]["id"]
            answers = [
                Answer(await said(house, asking(path, b"", method="HEAD")))
                for path in ("/v1/fabric/events", f"/v1/responses/{id}?stream=true")
            ]

    for answer in answers:
        assert (answer.status, answer.body) == (200, b"")
        assert answer.headers["content-type"] == "text/event-stream"


async def test_two_lengths_or_none_that_makes_sense_are_refused(kit):
    async with kit.server() as house:
        twice = asking().replace(b"connection: close", b"content-length: 3\r\nconnection: close")
        answers = [
            Answer(await said(house, one))
            for one in (twice, asking(length=-5), asking(length="9" * 30))
        ]

    assert [answer.status for answer in answers] == [400, 400, 400]
