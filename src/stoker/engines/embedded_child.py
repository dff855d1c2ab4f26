"""The embedded engine's own process: llama.cpp's server, until its parent is gone.

Prints one line, its address, when it is up. It reads standard input only to notice the parent's
end: the pipe closes however the parent dies, SIGKILL included. While the model loads, nothing here
can read; on Linux the kernel itself ends us then.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
from pathlib import Path

import click
import xllamacpp

_HTTP_THREADS_BESIDES_SLOTS = 64
"""Its HTTP server keeps a thread per open connection, idle ones and those of the gauges too."""
_PROMPT_CACHE_MIB = 256
"""Prompts kept in host RAM for slots that lost them. Its default, 8 GiB, is a box of its own."""
_LOG_ERRORS = 1
_NO_BUSY_WAITING = 0
"""Its threads otherwise spin between two steps. On 2 cores that bought nothing: 4 prompts of 300
tokens were read at 180 to 230 tokens a second either way."""
_PR_SET_PDEATHSIG = 1
"""From Linux's <sys/prctl.h>."""


@click.command()
@click.option("--model", type=click.Path(path_type=Path), required=True)
@click.option("--slots", type=int, required=True)
@click.option("--kv-tokens", type=int, required=True)
@click.option("--threads", type=int, required=True)
@click.option("--batch", type=int, required=True)
def main(model: Path, slots: int, kv_tokens: int, threads: int, batch: int) -> None:
    """Serve one GGUF file on a free loopback port."""
    _end_with_parent()
    # Whatever llama.cpp itself may print goes into the log, not into the pipe that nobody reads.
    address = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.model_alias = {model.stem}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_parallel = slots
    params.n_ctx = kv_tokens
    params.kv_unified = True
    params.cont_batching = True
    params.n_batch = batch
    params.n_ubatch = batch
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads = threads
        cpu.poll = _NO_BUSY_WAITING
    params.n_threads_http = slots + _HTTP_THREADS_BESIDES_SLOTS
    params.cache_ram_mib = _PROMPT_CACHE_MIB
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.ui = False
    params.verbosity = _LOG_ERRORS
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        sys.exit(str(error))
    click.echo(server.listening_address, file=address)
    address.close()
    sys.stdin.buffer.read()
    # A tidy shutdown would wait for running generations, which nobody reads any more.
    os._exit(0)


def _end_with_parent() -> None:
    # Loading holds the interpreter lock throughout, minutes for a large model: a Stoker that was
    # killed and started again would have two copies of it in host RAM.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if select.select([sys.stdin], [], [], 0)[0]:
        sys.exit("its parent was gone before it began")


if __name__ == "__main__":
    main()
