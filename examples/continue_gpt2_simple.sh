#!/bin/sh
# From a run directory of gpt-2-simple to a registered model that writes:
#     sh examples/continue_gpt2_simple.sh [FOLDER]
# gpt-2-simple itself makes the run, from random weights. Everything is kept in FOLDER, by default a new temporary one.
# docs/bases.md shows how to continue a run of your own.
set -eu
examples=$(cd "$(dirname "$0")" && pwd)
PATH=$(dirname "$examples")/.venv/bin:$PATH
folder=${1:-$(mktemp -d)}
mkdir -p "$folder"
cd "$folder"
echo "Everything is kept in $folder"

echo "gpt-2-simple makes checkpoint/run1"
python "$examples/gpt_2_simple_run.py" run1 >gpt-2-simple.log 2>&1 || { cat gpt-2-simple.log >&2; exit 1; }
grep '^\[' gpt-2-simple.log || true
ls checkpoint/run1

python "$examples/site.py" --port 8809 --folder site >site.log 2>&1 &
site=$!
trap 'kill $site; textmill down' EXIT
cat >textmill.yaml <<END
name: continued
sources:
  - name: millpond
    start: http://127.0.0.1:8809/
crawl:
  delay_s: 0
model:
  base: checkpoint/run1
  window: 128
train:
  optimiser: adamw
  schedule: cosine
  beta_2: 0.99
  average: 0
  weight_decay: 0.1
  warmup_steps: 50
  steps: 200
  batch: 8
  learning_rate: 0.001
  eval_every: 50
END
textmill up
textmill crawl
textmill run
textmill promote --why "its bits per byte are below those of gpt-2-simple's run"
textmill generate "The sound of a mill at night" --tokens 80 --seed 1
