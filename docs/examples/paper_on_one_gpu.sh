#!/usr/bin/env bash
# Tables II and III of the QXS-SAROPT paper on one machine, from the sets to the boards; explained in docs/paper-on-one-gpu.md.
#
#   PAIRS=DIR SCENES=DIR docs/examples/paper_on_one_gpu.sh            every step, in order
#   PAIRS=DIR SCENES=DIR docs/examples/paper_on_one_gpu.sh plan run   these steps alone
#
# steps     sets doctor weights smoke plan estimate run boards
# PAIRS     folder of QXS-SAROPT, SCENES folder of AIR-SARShip-1.0; simulated stand-ins are made where they are left out
# START     imagenet (the paper; default), or random: without weight files, no reproduction
# WORK      everything that is written (default: paper-run); DEVICE cpu, cuda, cuda:N or auto; WORKERS data-loading processes
# BENCH     the command line (default: bench), PYTHON the interpreter beside it (default: python)
#
# Every step can be called again: what is finished is not done twice, and `run` goes on where it was stopped.
set -euo pipefail

BENCH=${BENCH:-bench} PYTHON=${PYTHON:-python} WORK=${WORK:-paper-run} START=${START:-imagenet} DEVICE=${DEVICE:-auto} WORKERS=${WORKERS:-4}
STEPS=(sets doctor weights smoke plan estimate run boards)
CHECKOUT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

case $START in
  imagenet) CONFIG=paper SUITE=paper ;;
  random) CONFIG=$CHECKOUT/docs/examples/paper_random_start.yaml SUITE=paper-random-start ;;
  *) echo "START is $START; give imagenet or random" >&2; exit 2 ;;
esac

mkdir -p "$WORK"
WORK=$(cd "$WORK" && pwd)
KIND=genuine
if [[ -z ${PAIRS:-} || -z ${SCENES:-} ]]; then KIND=simulated; fi   # results of the two never share a folder
PAIRS=${PAIRS:-$WORK/simulated/qxs-saropt} SCENES=${SCENES:-$WORK/simulated/air-sarship-1.0}
ROOTS=(--root "qxs-saropt=$PAIRS" --root "air-sarship-1.0=$SCENES")
PLACES=("${ROOTS[@]}" --runs "$WORK/$KIND-$START/runs" --boards "$WORK/$KIND-$START/leaderboards")
HOW=(--device "$DEVICE" --workers "$WORKERS")
export BENCH_WEIGHTS=${BENCH_WEIGHTS:-$WORK/weights} BENCH_CACHE=${BENCH_CACHE:-$WORK/cache}

simulate() {  # data set, folder, further words: a stand-in, made whole or not at all
  if [[ -d $2 ]]; then return; fi
  rm -rf "$2.part"
  "$BENCH" data simulate --like "$1" "${@:3}" --out "$2.part"
  mv "$2.part" "$2"
}

verify() {  # problems (exit code 1) are told, and are for you to judge; a set that is not there stops the script
  "$BENCH" data verify "$1" --root "$2" --runs "$WORK/verified" || [[ $? == 1 ]]
}

step_sets() {
  mkdir -p "$WORK/simulated"
  if [[ $PAIRS == "$WORK/simulated/"* ]]; then simulate qxs-saropt "$PAIRS" --pairs 20000; fi
  if [[ $SCENES == "$WORK/simulated/"* ]]; then simulate air-sarship-1.0 "$SCENES"; fi
  verify qxs-saropt "$PAIRS"
  verify air-sarship-1.0 "$SCENES"
}
step_doctor() { "$BENCH" doctor "${ROOTS[@]}"; }
step_weights() {  # the network is needed here, and nowhere else
  if [[ $START == random ]]; then echo "START=random: no weight files"; return; fi
  for name in resnet50 darknet53; do
    "$BENCH" data weights "$name" || "$BENCH" data weights "$name" --download --dest "$BENCH_WEIGHTS"
  done
}
step_smoke() { "$BENCH" run --config "$CONFIG" --smoke "${PLACES[@]}" "${HOW[@]}"; }
step_plan() { "$BENCH" plan --config "$CONFIG" "${PLACES[@]}"; }
step_estimate() {
  "$PYTHON" "$CHECKOUT/benchmarks/paper_steps.py" --config "$CONFIG" --device "$DEVICE" --workers "$WORKERS" --scenes-root "$SCENES" --out "$WORK/estimate.md"
}
step_run() { "$BENCH" run --config "$CONFIG" "${PLACES[@]}" "${HOW[@]}"; }
step_boards() { "$BENCH" leaderboard "$SUITE" --boards "$WORK/$KIND-$START/leaderboards" --cost; }

for step in "${@:-${STEPS[@]}}"; do
  if ! declare -F "step_$step" >/dev/null; then echo "unknown step $step; known: ${STEPS[*]}" >&2; exit 2; fi
done
for step in "${@:-${STEPS[@]}}"; do
  echo "== $step" >&2
  "step_$step"
done
