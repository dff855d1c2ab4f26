#!/usr/bin/env bash
# Adds to a KIT what Stoker itself needs on a GPU machine without a network: its wheels for Python 3.12
# on x86-64, and a tokenizer whose ids are all texts that are one token again.
#
#   tools/gpu/pack_stoker.sh KIT        from the root of the repository; needs a package index
set -euo pipefail
kit=${1:?usage: pack_stoker.sh KIT}
platform=(--python-version 3.12 --implementation cp --platform manylinux2014_x86_64)
for minor in 5 12 17 24 28 34; do platform+=(--platform "manylinux_2_${minor}_x86_64"); done

rm -rf "$kit/stoker"
mkdir -p "$kit/stoker"
python3 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
    >"$kit/stoker/needs.txt"
python3 -m pip download -q --only-binary=:all: "${platform[@]}" -d "$kit/stoker" -r "$kit/stoker/needs.txt"
rm -f "$kit"/stoker/pygments-*.whl  # only `stoker demo` colours
python3 - "$kit" <<'PY'
import json, pathlib, subprocess, sys

for config in pathlib.Path(sys.argv[1]).glob("gpu/model/*/config.json"):
    size = json.loads(config.read_text())["vocab_size"]
    script = "tools/gpu/widen_tokenizer.py"
    subprocess.run([sys.executable, script, config.with_name("tokenizer.json"), str(size)], check=True)
PY
du -sm "$kit"
