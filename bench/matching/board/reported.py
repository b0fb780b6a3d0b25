"""What the papers report for this task, as data: value, source, table, protocol facts; and how a record of ours differs
from them.

Shown beside ours, never mixed with it. The facts and their marks: docs/protocols.md, section 1; the rule:
docs/verdicts.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.core.registries import BACKBONES
from bench.statistics.verdicts import Published, Verdict, binomial_error, verdict

if TYPE_CHECKING:
    from bench.execution.records import Record
    from bench.statistics.inference import Estimate

PAIRS, TEST_SHARE = 20_000, 0.3
HELD_OUT_AT_MOST = 0.1  # of the training share, for a validation part that the paper does not mention
MARGIN = 0.01
"""One point. The published values come from about 12,000 decisions of another random draw: their own binomial 95 %
error is at least 0.7 points in accuracy, 1.0 in precision, 0.2 in recall, and rounding adds 0.05. A narrower margin
would demand the chance of their draw.
"""


@dataclass(frozen=True, kw_only=True)
class Reported(Published):
    """One row of a published table.

    Attributes:
        dataset, matcher, backbone: registry names of the row of ours that it stands beside.
    """

    dataset: str
    matcher: str
    backbone: str | None

    @property
    def metrics(self) -> Mapping[str, float]:
        """The published values, in [0, 1]."""
        return self.values


_KNOWN = {
    "data": "QXS-SAROPT, 20,000 pairs of 256 px",
    "split": "70 % of the pairs train, the rest tests; by patch, at random (inferred: the set has no places)",
    "negatives": "1:1, drawn uniformly (by arithmetic: 0.997 and 0.999 of the pairs)",
    "metric": "accuracy, precision and recall of the decision whether a pair matches",
    "method": (
        "bridge neural network as in the released code: loss, head, optimiser, threshold 0.38 (that it made the table"
        " is inferred)"
    ),
    "initial weights": "ImageNet, in both branches (released code; that the table used them is inferred)",
}
_OPEN = (
    "the list and seed of the split",
    "whether a part was held out for validation",
    "the threshold behind the table",
    "20 or 50 embedding dimensions",
    "the number of runs and which of them is printed",
)
_DARKNET = ("the head on Darknet-53, which the released code does not have", "the input normalisation of Darknet-53")


def _table_ii(
    backbone: str, accuracy: float, precision: float, recall: float, further: tuple[str, ...] = ()
) -> Reported:
    """Return a row of Table II with the standard errors that its 6,000 test pairs and as many negatives leave at
    least.
    """
    pairs = PAIRS * TEST_SHARE
    called = pairs * recall / precision
    return Reported(
        dataset="qxs-saropt",
        matcher="bnn",
        backbone=backbone,
        values={"accuracy": accuracy, "precision": precision, "recall": recall},
        standard_errors={
            "accuracy": binomial_error(accuracy, 2 * pairs),
            "precision": binomial_error(precision, called),
            "recall": binomial_error(recall, pairs),
        },
        source="Huang et al., QXS-SAROPT, arXiv 2103.08259",
        table="Table II",
        known={**_KNOWN, "backbone": backbone},
        open=_OPEN + further,
        margin=MARGIN,
    )


REPORTED = (
    _table_ii("resnet50", 0.829, 0.748, 0.993),
    _table_ii("darknet53", 0.828, 0.746, 0.995, _DARKNET),
)


def find_reported(dataset: str, matcher: str, backbone: str | None) -> Reported | None:
    """Return the published row of a method on a data set, or None where there is none."""
    for row in REPORTED:
        if (row.dataset, row.matcher, row.backbone) == (dataset, matcher, backbone):
            return row
    return None


def judge(records: Sequence[Record], ours: Mapping[str, Estimate | None]) -> Verdict | None:
    """Return the verdict of one row of the board, None where nothing is published for it.

    Args:
        records: of the row, one a seed.
        ours: accuracy, precision and recall of true pairs against uniform negatives, at one threshold.
    """
    spec = records[0].spec
    found = find_reported(spec["dataset"]["name"], spec["method"]["matcher"], spec["method"]["backbone"])
    if found is None:
        return None
    known = list(dict.fromkeys(text for record in records for text in differences(record)))
    return verdict(found, ours, known, len(records), sum(record.status == "failed" for record in records))


def differences(record: Record) -> list[str]:
    """Return every known difference of a record from the protocol of Table II, as "<part>: <what>"; empty where none is
    known.

    Whether the files are the genuine ones can only be judged by their number: a stand-in of 20,000 generated pairs in
    the same folders would pass.
    """
    return [*_run(record), *_data(record), *_split(record), *_metric(record), *_method(record)]


def _run(record: Record) -> list[str]:
    out = [] if record.limit is None else [f"run: limited to {record.limit} samples a part"]
    return out + (["run: a smoke test"] if record.smoke else [])


def _data(record: Record) -> list[str]:
    counts = _pairs(record)
    if counts is None:
        return ["data: the record does not count its pairs"]
    pairs = sum(counts.values())
    return [] if pairs == PAIRS else [f"data: {pairs:,} pairs, the paper's set has {PAIRS:,}"]


def _pairs(record: Record) -> dict[str, int] | None:
    """Return how many pairs each part has, before any limit; None where the record does not say."""
    pairs: dict[str, int] | None = record.inputs.get("split_summary", {}).get("pairs")
    return pairs if pairs and {"train", "validation", "test", "dropped"} <= set(pairs) else None


def _split(record: Record) -> list[str]:
    split, counts = record.spec["dataset"]["split"], _pairs(record)
    if split["kind"] != "random":
        what = (
            "read from a file, which is not known to be random"
            if split["kind"] == "file"
            else f"{split['kind']}, not random"
        )
        return [f"split: {what}"]
    if counts is None:
        return []
    out = []
    used = counts["train"] + counts["validation"] + counts["test"]
    if counts["dropped"]:
        out.append(f"split: {counts['dropped']:,} pairs dropped, the paper uses all")
    if abs(counts["test"] / used - TEST_SHARE) > 0.005:
        out.append(f"split: training share {1 - counts['test'] / used:.3g}, not {1 - TEST_SHARE:.3g}")
    held_out = counts["validation"] / (counts["train"] + counts["validation"])
    if held_out > HELD_OUT_AT_MOST + 0.005:
        out.append(
            f"split: {held_out:.3g} of the training share held out for validation, more than {HELD_OUT_AT_MOST:g}"
        )
    return out


def _metric(record: Record) -> list[str]:
    """Compare the negatives with 1:1; a failed record has drawn none."""
    facts = record.facts
    positives, negatives = facts.get("uniform.positives"), facts.get("uniform.negatives")
    if not positives or negatives is None or abs(negatives / positives - 1) <= 0.01:
        return []
    return [f"metric: negatives {positives:,}:{negatives:,}, not 1:1"]


def _method(record: Record) -> list[str]:
    method, dataset = record.spec["method"], record.spec["dataset"]
    out = [] if method["control"] == "none" else [f"method: control, {method['control']} pairs"]
    init = method["init"]
    if init != "imagenet" or method["init_branch"]:
        start = "random start" if init == "none" else f"start from {init}"
        out.append(f"method: {start}, the released code starts from ImageNet")
    elif not _is_published(method["backbone"], record.inputs.get("initial_weights_sha256")):
        out.append("method: the initial weights are not the published ImageNet file")
    scalings = {view: dataset[f"{view}_scaling"] for view in ("sar", "optical")}
    out += [
        f"method: {view} values scaled by {name}, the released code by 1 / 255"
        for view, name in scalings.items()
        if name not in _BYTES
    ]
    changed = sorted(_changed_options(method["options"]))
    return out + ([f"method: options changed from the released code: {', '.join(changed)}"] if changed else [])


_BYTES = (None, "uint8")
_SAME = {"channels_last": (True, False), "input_px": (None, 256)}  # option -> values that change nothing of the method


def _changed_options(options: Mapping[str, Any]) -> list[str]:
    """Return the options that differ from the matcher's defaults, which are the released code's."""
    from bench.matching.matchers.bnn import BnnOptions

    defaults = BnnOptions.model_validate({}).model_dump(mode="json")
    return [name for name, value in options.items() if value not in _SAME.get(name, (defaults.get(name),))]


def _is_published(backbone: str, sha256: str | None) -> bool:
    """Return whether a file's digest is one of the published files', as far as their publishers state any."""
    known = [weights.sha256_prefix for weights in BACKBONES.get(backbone).weights.values()]
    return sha256 is not None and any(sha256.startswith(prefix) for prefix in known)
