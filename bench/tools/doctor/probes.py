"""Runs probes, small computations that show whether a backend works, in a process of their own.

`python -m bench.tools.doctor.probes [--device cuda] NAME ...` prints a JSON line when a probe begins and one when it
ends. A probe that does not work raises, which ends the process: the caller (`backends.py`) takes note, and starts
another one with the rest.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from typing import Any

from bench.core.errors import nearest
from bench.tools.doctor import libraries, networks
from bench.tools.doctor.backends import now

Probe = Callable[[str], "str | tuple[str, dict[str, Any]]"]
"""(device) -> what was found; and further facts for the caller."""

PROBES: dict[str, Probe] = {
    "torch": networks.torch_computes,
    "accelerator": networks.accelerator,
    "torchvision": networks.torchvision_operators,
    "training": networks.training,
    "mmcv": networks.mmcv_operators,
    "faster-rcnn": networks.faster_rcnn,
    "yolov3": networks.yolov3,
    "scipy": libraries.scipy_fft,
    "scikit-learn": libraries.sklearn_fits,
    "image files": libraries.image_files,
    "safetensors": libraries.safetensors_file,
    "matplotlib": libraries.matplotlib_draws,
    "pycocotools": libraries.pycocotools_evaluates,
    "cfog": libraries.cfog,
    "cfar": libraries.cfar,
    "components": libraries.components,
}
OF_EACH: dict[str, Callable[[str, str], str]] = {"backbone": networks.backbone, "matcher": networks.matcher}


def run(name: str, device: str) -> tuple[str, dict[str, Any]]:
    """Run the probe called `name` ("cfog", "backbone resnet18"); raises whatever it raises."""
    kind, _, which = name.partition(" ")
    found = OF_EACH[kind](which, device) if which and kind in OF_EACH else PROBES[name](device)
    return (found, {}) if isinstance(found, str) else found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the probes that are named, in order."""
    parser = argparse.ArgumentParser(
        prog="bench.tools.doctor.probes", description="Run probes of `bench doctor`; see all that one prints."
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (default: cpu)")
    parser.add_argument(
        "names", nargs="+", metavar="NAME", help=", ".join([*PROBES, *(f"'{kind} NAME'" for kind in OF_EACH)])
    )
    args = parser.parse_args(arguments)
    for name in args.names:
        if name not in PROBES and name.partition(" ")[0] not in OF_EACH:
            parser.error(f"unknown probe {name!r}{nearest(name, PROBES)}")
        print(json.dumps({"begin": name, "time": now()}), flush=True)
        text, facts = run(name, args.device)
        print(json.dumps({"end": name, "time": now(), "text": text, "facts": facts}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
