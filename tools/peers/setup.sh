#!/usr/bin/env bash
# Other people's gateways, for benchmarks/bench_overhead.py, in .venv-peers: LiteLLM's proxy, SGLang's
# router and vLLM's router. Safe to run again; it does only what is missing.
set -euo pipefail
cd "$(dirname "$0")/../.."

stamp=.venv-peers/.stoker-setup
wanted=$(cat tools/peers/setup.sh requirements/peers.txt | sha256sum)
[[ $(cat "$stamp" 2>/dev/null) != "$wanted" ]] || exit 0

echo "Setting up .venv-peers …"
rm -rf .venv-peers
unset PYTHONPATH PYTHONHOME
export PYTHONNOUSERSITE=1 PIP_DISABLE_PIP_VERSION_CHECK=1
"${PYTHON:-python3}" -m venv .venv-peers
.venv-peers/bin/python -m pip install -qq --only-binary :all: --no-deps -r requirements/peers.txt
printf '%s\n' "$wanted" >"$stamp"
