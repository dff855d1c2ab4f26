#!/usr/bin/env bash
# Measures vLLM with a random-weight MoE, and Stoker before it, on a GPU machine without a network.
#
#   tools/gpu/evaluate.sh KIT STEP...     from the root of the repository; README.md says what a KIT is
#
# Steps: serve, record, sweep, p0, agents, stop. Any of them brings the server up first if it is not up
# already; it leads its own process session and goes on when this script ends, so a second call on the
# same machine finds it. LIMIT_S (570) bounds the whole call; results go to $OUT (./out), few files.
set -uo pipefail
kit=$(realpath "${1:?usage: evaluate.sh KIT STEP...}")
shift
out=${OUT:-out}
limit_s=${LIMIT_S:-570}
port=${PORT:-8000}
url=http://127.0.0.1:$port
site=${STOKER_SITE:-/tmp/stoker-site}
data=${STOKER_DATA:-/tmp/stoker-data}
mkdir -p "$out"
exec > >(tee -a "$out/log.txt") 2>&1

# The whole range of steps with a prefill in CUDA graphs: outside them each costs a constant 0.1 s on a
# slow host CPU, and would be what is measured.
graphs=(1 2 4 8 16 24 32 40 48 56 64 72 80 88 96 104 112 120 128 160 192 256 384 512 640 768 896 1024
  1088 1152 1216 1280 1536 2048)
# 1,000-token prompts and 400-token answers; 64 is the last cap under the wall of 96,000 KV tokens.
load=(--prompt 1000 --output 400 --sigma 0.7)
question=(--p0-prompt 500 --p0-output 100 --rate 1.5 --burst-s 20 --lead-s 1.5)

left_s() { echo $((limit_s - SECONDS)); }

answers() {
  python3 -c "import urllib.request as u; u.urlopen('$url/health', timeout=2)" 2>/dev/null
}

server_up() {
  answers && return 0
  echo "--- installing and serving, $(left_s) s left"
  { nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader; uname -r; nproc; } \
    >"$out/machine.txt" 2>&1
  bash "$kit/gpu/install_on_gpu.sh" "$kit" || return 1
  # In its development mode it tells max_num_seqs, which no gauge does.
  VLLM_SERVER_DEV_MODE=1 PORT=$port WAIT=$(($(left_s) - 30)) \
    bash "$kit/gpu/serve.sh" "$kit"/gpu/model/* --cudagraph-capture-sizes "${graphs[@]}" && return 0
  tail -n 60 "${LOG:-/tmp/serve.log}"
  return 1
}

stoker_installed() {
  [[ -e $site/.done ]] && return 0
  python3 -m pip install -q --no-index --no-deps --no-compile --upgrade --target "$site" \
    "$kit"/stoker/*.whl || return 1
  # Run from its sources; the command only asks the installation for the version.
  mkdir -p "$site/stoker-0.dist-info"
  printf 'Metadata-Version: 2.1\nName: stoker\nVersion: 0\n' >"$site/stoker-0.dist-info/METADATA"
  touch "$site/.done"
}

measure() {
  local left
  left=$(($(left_s) - 25))
  ((left > 20)) || { echo "--- $1 not run: out of time"; return 1; }
  echo "--- $*, $left s left"
  PYTHONPATH=$PWD/src:$site timeout -k 10 $((left + 20)) python3 -u benchmarks/evaluate_real.py "$1" \
    --engine "$url" --out "$out" --limit-s "$left" "${@:2}" ${MORE:-}
}

step() {
  case $1 in
    serve) ;;
    # The ends and the middle first: a call that is cut keeps a curve.
    record) measure record "${load[@]}" --n "${N:-1,16,64,128,32,96,8}" --warm-up-s "${WARM_S:-7}" \
      --window-s "${WINDOW_S:-18}" --csv "$out/record.csv" ;;
    sweep)
      rm -rf "$data"
      measure sweep "${load[@]}" --n "${N:-64}" --warm-up-s "${WARM_S:-8}" --window-s "${WINDOW_S:-50}" \
        --stoker-warm-up-s "${STOKER_WARM_S:-130}" --data "$data"
      ;;
    p0) measure p0 "${load[@]}" "${question[@]}" --p2 128 --cap 64 --data "$data" \
      --arms "${ARMS:-alone,priority,cap,stoker,lease}" --warm-up-s "${WARM_S:-8}" \
      --window-s "${WINDOW_S:-60}" --stoker-warm-up-s "${STOKER_WARM_S:-20}" ;;
    # Ten turns take 35 s: a shorter warm-up shows the beginning of sessions, and a cold Stoker.
    agents) measure agents --agents "${N:-32,64}" --warm-up-s "${WARM_S:-45}" \
      --window-s "${WINDOW_S:-60}" --sigma 0.7 ${AGENTS_MORE:-} ;;
    stop) [[ -e /tmp/serve.pid ]] && kill -- -"$(cat /tmp/serve.pid)" ;;
    *) echo "no step is called $1" >&2 && return 2 ;;
  esac
}

failed=0
[[ ${1-} == stop ]] || server_up || exit 1
stoker_installed || exit 1
for name in "$@"; do
  step "$name" || failed=1
done
[[ -e ${LOG:-/tmp/serve.log} ]] && tail -c 200000 "${LOG:-/tmp/serve.log}" >"$out/serve.log"
echo "--- done after $SECONDS s"
sleep 1 # until tee has written the last line
exit $failed
