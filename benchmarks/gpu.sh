#!/usr/bin/env bash
# gpu.sh OUT [STEP ...]: what a GPU does with this project, in minutes; needs `python3` with the project's dependencies.
#
# Run it inside a checkout. Every step has a time limit of its own and leaves what it measured in OUT at once: agree.csv,
# resume.csv, speed.csv and gpu.csv (rows), gpu.log (everything; now.log of the command that runs), steps.csv (seconds
# and exit code of each command). A failing step stops nothing. Steps, all in this order by default:
#
#   imports    torch, mmdet, the device
#   probes     the computations of `bench doctor`, on the device
#   agree      the cells of benchmarks/gpu.yaml on the device and on the CPU at once: metrics side by side, and the
#              predictions of each trained model on both, with TF32 and without
#   resume     a training on the device killed after an epoch and started again: finished, and beside the whole one
#   tests      the tests that are marked for a CUDA device
#   speed      steps and inference of matchers (256 px) and detectors (tiles of 512 px), peak memory, share of the network
#   quickstart `bench run --config quickstart`, wall time
#   detection  `bench run detection --config quickstart --force`, wall time
#   compile    speed with torch.compile, and fp16
#   harness    benchmarks/matching.py and benchmarks/detection.py: harness against a bare loop and mmdet's pipeline
#   doctor     `bench doctor`, whole
#
# Environment: DEVICE (cuda), TINY=1 (smallest sizes, to try the script on a CPU), WORK (OUT/work: data and cells),
# DEADLINE (seconds, after which nothing is begun; the last command is cut short).
# Two processes cannot share one GPU through NCCL: `--processes 2` needs two GPUs and is not tried.
set -u
out=$1; shift
steps=${*:-imports probes agree resume tests speed quickstart detection compile harness doctor}
mkdir -p "$out"; out=$(cd "$out" && pwd)
device=${DEVICE:-cuda} tiny=${TINY:-} work=${WORK:-$out/work}
cores=$(nproc); half=$(((cores + 1) / 2)); loading=$((cores > 8 ? 8 : 0))
mkdir -p "$work"; work=$(cd "$work" && pwd)
export BENCH_CACHE="$work/cache" PYTHONUNBUFFERED=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
limit=1; [ -n "$tiny" ] && limit=4 # a CPU that others use as well is slow
began=$SECONDS deadline=${DEADLINE:-100000}

run() { # run STEP SECONDS COMMAND...: a command of a step, within its limit; keeps what it printed and how it ended
    local step=$1 seconds=$(($2 * limit)) start=$SECONDS left=$((deadline - SECONDS + began)); shift 2
    if [ "$left" -lt 10 ]; then echo "== $step: left out, no time is left" | tee -a "$out/gpu.log"; return 1; fi
    [ "$left" -lt "$seconds" ] && seconds=$left
    echo "== $step: $(head -n 1 <<< "${*:1:9}") ($((start - began)) s)" | tee -a "$out/gpu.log"
    timeout -k 5 "$seconds" "$@" < /dev/null > "$out/now.log" 2>&1
    local code=$?
    cat "$out/now.log" >> "$out/gpu.log"; tail -n "${lines:-15}" "$out/now.log" | cut -c 1-200
    echo "$step,$((SECONDS - start)),$code" >> "$out/steps.csv"
    echo "== $step: exit code $code after $((SECONDS - start)) s" | tee -a "$out/gpu.log"
    return "$code"
}

cells() { # cells DEVICE RUNS WORDS...: the small cells on a device
    local on=$1 runs=$2; shift 2
    python3 -m bench run --config benchmarks/gpu.yaml "$@" --device "$on" --threads "$half" --no-figures \
        --runs "$work/$runs" --boards "$work/boards-$runs"
}
export -f cells; export work half
small=
[ -n "$tiny" ] && small="--method infonce-resnet18 faster-rcnn --set matching.methods.infonce-resnet18.options.entries=64 \
    --set detection.methods.faster-rcnn.options.samples=16 --set detection.methods.faster-rcnn.options.per_epoch=8"

imports() {
    command -v nvidia-smi > /dev/null && run imports 20 nvidia-smi --query-gpu=name,memory.total,driver_version --format=csv
    run imports 120 python3 -c "# imports
import sys, time; t = time.monotonic()
import numpy, torch, torchvision; a = time.monotonic() - t
from bench.detection.detectors.mmdet import mmcv_bridge
served = mmcv_bridge.install()
import mmdet.models, mmengine, pycocotools.mask, shapely, pydantic, defusedxml, sklearn, scipy, matplotlib, cv2, tifffile, safetensors
print('python', sys.version.split()[0], 'torch', torch.__version__, 'torchvision', torchvision.__version__, 'numpy', numpy.__version__)
print('mmcv operators:', served, '; seconds: torch', round(a, 1), 'all', round(time.monotonic() - t, 1))
print('device:', torch.cuda.get_device_name() if torch.cuda.is_available() else 'none', '; cudnn TF32', torch.backends.cudnn.allow_tf32)
"
}

probes() { # one process for all; where it ends early, one for each
    local names=(torch accelerator torchvision) name
    [ -n "$tiny" ] || names+=("backbone resnet18" "backbone resnet50" "backbone darknet53" "matcher bnn" "matcher infonce" \
        "matcher dense" training faster-rcnn yolov3)
    run probes 90 python3 -m bench.tools.doctor.probes --device "$device" "${names[@]}" && return
    for name in "${names[@]}"; do run probes 30 python3 -m bench.tools.doctor.probes --device "$device" "$name"; done
}

again() { # again WORDS...: what the models of the device predict, once more
    run agree 60 python3 benchmarks/device_agreement.py predictions "$work/runs-1" "$@" --csv "$out/agree.csv"
}

agree() {
    # plan makes the data, so that both runs find them
    lines=2 run agree 60 python3 -m bench plan --config benchmarks/gpu.yaml --runs "$work/runs-1" --boards "$work/boards-runs-1"
    timeout -k 5 $((200 * limit)) bash -c 'cells "$@"' _ cpu runs-cpu $small > "$work/agree-cpu.log" 2>&1 < /dev/null &
    local other=$!
    lines=3 run agree 150 bash -c 'cells "$@"' _ "$device" runs-1 $small
    again --device cpu --threads "$half"
    if [ "$device" != cpu ]; then
        again --device "$device"
        again --device "$device" --tf32 off
    fi
    wait "$other"; echo "== agree: the run on the CPU ended with exit code $?" | tee -a "$out/gpu.log"
    cat "$work/agree-cpu.log" >> "$out/gpu.log"; tail -n 2 "$work/agree-cpu.log"
    run agree 30 python3 benchmarks/device_agreement.py metrics "$work/runs-1" "$work/runs-cpu" --csv "$out/agree.csv"
}

family() { # family PID: the process and all that it started, which may lead sessions of their own
    local child
    echo "$1"
    for child in $(pgrep -P "$1"); do family "$child"; done
}

resume() { # a matcher and a detector, each killed with SIGKILL as soon as its first checkpoint is there
    local method
    for method in infonce-resnet18 faster-rcnn; do
        local words=(--method "$method") seen=no start=$SECONDS
        [ -n "$tiny" ] && words=("${words[@]}" ${small#--method infonce-resnet18 faster-rcnn})
        cells "$device" runs-2 "${words[@]}" > "$work/resume-$method.log" 2>&1 < /dev/null &
        local runner=$!
        while kill -0 "$runner" 2> /dev/null && [ $((SECONDS - start)) -lt $((60 * limit)) ]; do
            if compgen -G "$work/runs-2/*/*$method*/checkpoints/*" > /dev/null; then seen=yes; break; fi
            sleep 0.02
        done
        kill -9 $(family "$runner") 2> /dev/null; wait "$runner" 2> /dev/null
        echo "resume,$method,killed after a checkpoint,$seen" | tee -a "$out/gpu.csv" "$out/gpu.log"
        lines=3 run resume 80 bash -c 'cells "$@"' _ "$device" runs-2 "${words[@]}"
    done
    run resume 30 python3 benchmarks/device_agreement.py metrics "$work/runs-2" "$work/runs-1" --csv "$out/resume.csv"
}

tests() {
    python3 -c "import pytest" 2> /dev/null || { echo "== tests: no pytest here" | tee -a "$out/gpu.log"; return; }
    run tests 60 python3 -m pytest -p no:cacheprovider -k cuda tests/training/test_training_run.py
}

speed() { # WAYS in the environment: others than these
    local ways=${WAYS:-fp32 bf16 bf16+channels-last} size=(--steps 20) networks="bnn-resnet18 bnn-resnet50 faster-rcnn yolov3 bnn-darknet53"
    [ -n "$tiny" ] && ways="fp32 bf16+channels-last" size=(--quick --steps 1) networks=bnn-resnet18
    lines=30 run "${1:-speed}" "${2:-170}" python3 benchmarks/precision.py --device "$device" --one-process --bare --workers "$loading" \
        --networks $networks --ways $ways "${size[@]}" --csv "$out/speed.csv"
}

compile() {
    WAYS="bf16+channels-last+compile fp16+channels-last" speed compile 200
}

quickstart() {
    local places=(--device "$device" --runs "$work/runs-3" --boards "$work/boards-3") words=() start=$SECONDS
    [ -n "$tiny" ] && words=(--smoke)
    lines=3 run quickstart 240 python3 -m bench run --config quickstart "${words[@]}" "${places[@]}"
    echo "quickstart,whole,$((SECONDS - start)) s" | tee -a "$out/gpu.csv"
    find "$work/boards-3" -name '*.md' -exec cat {} + 2> /dev/null >> "$out/gpu.log"
}

detection() {
    local places=(--device "$device" --runs "$work/runs-3" --boards "$work/boards-3") words=(--force) start=$SECONDS
    [ -n "$tiny" ] && words=(--smoke)
    lines=3 run detection 120 python3 -m bench run detection --config quickstart "${words[@]}" "${places[@]}"
    echo "detection,whole,$((SECONDS - start)) s" | tee -a "$out/gpu.csv"
}

harness() {
    local matching=(--pairs 300 --patch-px 256 --input-px 256) detection=(--backbone resnet50 --full-heads --tile-px 512 --batch 8 --channels-last)
    [ -n "$tiny" ] && matching=(--pairs 40 --patch-px 64 --batch 4 --steps 3 --rounds 1) detection=(--steps 3 --batch 2 --tile-px 64 --scene-px 200 --ships 8 --rounds 1)
    run harness 120 python3 benchmarks/matching.py training --device "$device" --workers "$loading" "${matching[@]}"
    run harness 150 python3 benchmarks/detection.py training inference --device "$device" --workers "$loading" "${detection[@]}"
}

doctor() {
    run doctor 150 python3 -m bench doctor
}

for step in $steps; do
    "$step"
    echo "== $step done, $((SECONDS - began)) s since the start" | tee -a "$out/gpu.log"
done
cat "$out/steps.csv"
