"""Single keys from a terminal, while the block runs; the terminal is as before afterwards."""

from __future__ import annotations

import asyncio
import os
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

_ARROWS = {b"\x1b[A": "up", b"\x1b[B": "down", b"\x1bOA": "up", b"\x1bOB": "down"}
_LONGEST = 3


def keys_of(data: bytes) -> Iterator[str]:
    """The keys in what a terminal sent: arrows by name, others as they are."""
    at = 0
    while at < len(data):
        name = _ARROWS.get(data[at : at + _LONGEST])
        if name is not None:
            yield name
            at += _LONGEST
        else:
            yield data[at : at + 1].decode("latin-1")
            at += 1


@contextmanager
def keyboard() -> Iterator[asyncio.Queue[str]]:
    """Keys as they are pressed; none where standard input is no terminal."""
    keys: asyncio.Queue[str] = asyncio.Queue()
    if not sys.stdin.isatty():
        yield keys
        return
    file = sys.stdin.fileno()
    before = termios.tcgetattr(file)
    loop = asyncio.get_running_loop()

    def read() -> None:
        for key in keys_of(os.read(file, 64)):
            keys.put_nowait(key)

    tty.setcbreak(file)
    loop.add_reader(file, read)
    try:
        yield keys
    finally:
        loop.remove_reader(file)
        termios.tcsetattr(file, termios.TCSADRAIN, before)
