#!/usr/bin/env bash
# Clients that other people wrote, for `just clients-test`: Python ones in .clients/venv, the official
# JavaScript client in .clients/js. Safe to run again; it does only what is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."

stamp=.clients/.stoker-setup
wanted=$(cat tools/clients/setup.sh requirements/clients.lock tests/js/package-lock.json | sha256sum)
[[ $(cat "$stamp" 2>/dev/null) != "$wanted" ]] || exit 0

echo "Setting up .clients …"
rm -rf .clients
mkdir -p .clients/js
unset PYTHONPATH PYTHONHOME
export PYTHONNOUSERSITE=1 PIP_DISABLE_PIP_VERSION_CHECK=1
"${PYTHON:-python3}" -m venv .clients/venv
.clients/venv/bin/python -m pip install -qq --only-binary :all: --require-hashes \
  -r requirements/clients.lock

if command -v npm >/dev/null; then
  cp tests/js/package.json tests/js/package-lock.json .clients/js/
  (cd .clients/js && npm ci --silent --no-audit --no-fund --ignore-scripts)
else
  echo "npm is not here: the JavaScript client is not tested" >&2
fi
printf '%s\n' "$wanted" >"$stamp"
