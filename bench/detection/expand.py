"""What the detection task adds to the expansion of its section: backbones that a detector has, pretraining arms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.core.errors import BenchError
from bench.core.registries import BACKBONES, DETECTORS
from bench.detection.pretraining import Arm, parse_arm
from bench.detection.spec import DetectionSection, DetectorEntry
from bench.suite.expansion import MethodRow


@dataclass(frozen=True)
class ArmRow(MethodRow):
    """One detector with one pretraining."""

    arm: Arm


def row_labels(section: DetectionSection) -> list[str]:
    """Return the labels of all rows of the section, whatever is selected."""
    labels = []
    for label, method in section.methods.items():
        arms = [parse_arm(text, f"detection.methods.{label}").label for text in method.pretrain]
        labels += [f"{label}/{arm}" for arm in arms] if DETECTORS.get(method.detector).backbones else [label]
    return labels


def chosen_backbone(method: DetectorEntry) -> str | None:
    """Return the backbone of an entry: as written, else the detector's first, None for a detector without one."""
    choices = DETECTORS.get(method.detector).backbones
    return method.backbone or (choices[0] if choices else None)


def with_backbone(method: DetectorEntry, where: str) -> DetectorEntry:
    """Return the entry with its backbone written out. Raises BenchError where the detector cannot be built on it."""
    choices = DETECTORS.get(method.detector).backbones
    if not choices:
        if method.backbone is not None:
            raise BenchError(f"{where}: detector {method.detector!r} takes no backbone; remove it")
        return method
    backbone = str(chosen_backbone(method))
    BACKBONES.entry(backbone)
    if backbone not in choices:
        raise BenchError(f"{where}: detector {method.detector!r} is built on {', '.join(choices)}, not on {backbone!r}")
    return method.model_copy(update={"backbone": backbone})


def arms_of(method: DetectorEntry, wanted: Sequence[str] | None, where: str) -> list[Arm]:
    """Return an entry's pretrainings that pass --pretrain (`wanted`); one that the entry does not list joins it.

    Raises:
        BenchError: an unknown pretraining; one of a detector that has no backbone.
    """
    if not DETECTORS.get(method.detector).backbones:
        if method.pretrain != ("none",):
            raise BenchError(f"{where}: detector {method.detector!r} has no backbone to pretrain; remove pretrain")
        return [Arm("none", "none")] if wanted is None or "none" in wanted else []
    texts = method.pretrain if wanted is None else wanted
    return [parse_arm(text, where if text in method.pretrain else "pretrain") for text in texts]
