"""The other side of `isolation`: `python -m` this reads files from its input until that ends."""

from __future__ import annotations

import os
import resource
import struct
import sys
from typing import BinaryIO

import msgspec

from stoker.memories.sources.documents import Document, SourceError
from stoker.memories.sources.formats import read_as
from stoker.memories.sources.isolation import Answer, Failure, Order


def main() -> None:
    """Answer every order; end with the input."""
    orders, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not stand between the answers
    while len(head := orders.read(8)) == 8:
        (size,) = struct.unpack(">Q", head)
        order = msgspec.msgpack.decode(orders.read(size), type=Order)
        answer = _answer(order, orders)
        answers.write(struct.pack(">Q", len(answer)) + answer)
        answers.flush()


def _answer(order: Order, orders: BinaryIO) -> bytes:
    most = order.limits.read_max_ram_bytes
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
    answer = Answer()
    for reading in read_as(order.format, orders.read(order.size), order.uri, order.limits):
        match reading:
            case Document():
                answer.documents.append(reading)
            case SourceError(problem=problem, advice=advice, code=code, uri=uri):
                answer.failures.append(Failure(problem, advice, code, uri))
    return msgspec.msgpack.encode(answer)


if __name__ == "__main__":
    main()
