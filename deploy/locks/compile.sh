#!/bin/sh
# Write the locks of the images and light installs: subsets of requirements.lock, with the same versions.
set -eu
cd "$(dirname "$0")/../.."

compile() {  # compile OUT OPTION...
    out=$1
    shift
    uv pip compile --quiet --universal --python-version 3.11 --no-annotate --custom-compile-command "make locks" \
        --constraint requirements.lock --override requirements-overrides.txt "$@" --output-file "$out"
}

from() { printf '%s\n' "$@"; }

extra=$(mktemp -d)
trap 'rm -rf "$extra"' EXIT
from "tensorflow-cpu>=2.21" >"$extra/tensorflow-cpu.in"
from "tensorflow[and-cuda]>=2.21" >"$extra/tensorflow-gpu.in"
from "onnxruntime-gpu[cuda,cudnn]" >"$extra/onnxruntime-gpu.in"
from mlflow psycopg2-binary boto3 >"$extra/mlflow.in"

compile serving/requirements.lock --extra serve pyproject.toml
compile serving/requirements-gpu.lock --extra serve --override deploy/locks/onnxruntime-gpu.txt \
    pyproject.toml "$extra/onnxruntime-gpu.in"
compile deploy/locks/crawl.lock --extra crawl pyproject.toml
compile deploy/locks/train-cpu.lock --extra train --extra serve --override deploy/locks/without-gpu.txt \
    pyproject.toml "$extra/tensorflow-cpu.in"
compile deploy/locks/train-gpu.lock --extra train --extra serve pyproject.toml "$extra/tensorflow-gpu.in"
compile deploy/locks/pipeline-cpu.lock --extra pipeline --extra serve --override deploy/locks/without-gpu.txt \
    pyproject.toml "$extra/tensorflow-cpu.in"
compile deploy/locks/pipeline-gpu.lock --extra pipeline --extra serve pyproject.toml "$extra/tensorflow-gpu.in"
compile deploy/locks/mlflow.lock "$extra/mlflow.in"
