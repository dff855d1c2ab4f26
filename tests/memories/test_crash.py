"""`kill -9` in the middle of an import: what comes out is the same, and no answer is paid twice."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_an_import_that_was_killed_ten_times_ends_as_if_it_had_not_been():
    # A process of its own forks the lives: this one has threads of other tests.
    command = [sys.executable, "benchmarks/bench_memories_crash.py"]
    options = ["--points", "10", "--conversations", "1", "--no-every-commit", "--seed", "3"]

    done = subprocess.run(
        [*command, *options], cwd=ROOT, capture_output=True, text=True, check=False, timeout=200
    )

    assert done.returncode == 0, done.stderr
    kills, _, _, tiles, differing, bought_twice = (
        int(cell) for cell in done.stdout.splitlines()[-1].strip("| ").split("|")
    )
    assert kills >= 10
    assert tiles > 10
    assert (differing, bought_twice) == (0, 0)
