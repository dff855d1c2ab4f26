"""A `stoker serve` for tests that block: started, asked whether it is ready, stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STOKER = Path(sys.executable).with_name("stoker")
START_LIMIT_S = 90.0


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[str]:
    """Its address, once its engine is ready."""
    arguments = ["serve", "--port", "0", "--data", str(folder / "data"), *options]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STOKER_")}
    with (folder / "stoker.log").open("ab") as log:
        process = subprocess.Popen(
            [STOKER, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            env=kept | {"XDG_CONFIG_HOME": str(folder)},
            start_new_session=True,
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline().decode()
        assert line.startswith("Stoker serves http"), (folder / "stoker.log").read_text()
        url = line.split()[-1]
        give_up_at = time.monotonic() + START_LIMIT_S
        while not _is_ready(url):
            assert time.monotonic() < give_up_at, "its engine is not ready"
            time.sleep(0.05)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        process.stdout.close()


def counts(url: str) -> dict[str, int]:
    """How many requests wait and run, over all classes."""
    with urllib.request.urlopen(f"{url}/v1/fabric/state", timeout=10) as answer:
        classes = json.load(answer)["scheduler"]["classes"].values()
    return {what: sum(one[what] for one in classes) for what in ("waiting", "running")}


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return answer.status == 200
    except (urllib.error.URLError, OSError):
        return False
