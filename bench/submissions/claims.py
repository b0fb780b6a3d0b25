"""What a submitted file says that it was made for: hashes of data, split and sampling, compared with ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.core.errors import BenchError
from bench.core.store import canonical_hash
from bench.submissions.sheets import Sheet, short

MADE_FOR = "made_for"  # column, or key of a JSON file's info: one hash for all the others together
CLAIMS = {
    "manifest_sha256": "data files",
    "split_sha256": "split",
    "pairs_sha256": "sampling of pairs",
    MADE_FOR: "data, split or sampling",
}


def claims_of(data: Mapping[str, Any], **further: str) -> dict[str, str]:
    """Return the hashes that a file made for this data may carry.

    Args:
        data: identity of the planned data (`PlannedData.identity`).
        further: hashes of what else was handed out, by a name in `CLAIMS`.
    """
    hashes = {"manifest_sha256": str(data["manifest"]), "split_sha256": str(data["split"]), **further}
    return {**hashes, MADE_FOR: canonical_hash(list(hashes.values()))[:16]}


def claims_in(sheet: Sheet) -> dict[str, Any]:
    """Return what a file says that it was made for: its info, and its `made_for` column, which has one value in all
    rows.
    """
    if MADE_FOR not in sheet.table or not len(sheet.table):
        return dict(sheet.info)
    values = sheet.texts(MADE_FOR)
    for i, value in enumerate(values):
        if value != values[0]:
            before = f"{MADE_FOR} is {value!r}, but {values[0]!r} before"
            raise BenchError(f"{sheet.where(i)}: {before}; one file, one sampling")
    return {**sheet.info, MADE_FOR: values[0]}


def check_claims(claimed: Mapping[str, Any], ours: Mapping[str, str], path: Path, again: str) -> dict[str, str] | None:
    """Return the hashes that a file carries of those we know, all equal to ours; None where it carries none.

    Args:
        claimed: what the file says; keys that are no hash are passed over.
        ours: name of a hash (`CLAIMS`) -> its value for the data, split and sampling it is scored on.
        again: the command that writes what has to be predicted.

    Raises:
        BenchError: a hash differs: the predictions are of other data, another split or another sampling.
    """
    agreed: dict[str, str] = {}
    for name, value in ours.items():
        stated = claimed.get(name)
        if stated is None:
            continue
        if stated != value:
            other = f"its {name} is {short(stated)}, here it is {value[:16]}"
            raise BenchError(f"{path} was made for another {CLAIMS[name]}: {other}; predict what `{again}` writes")
        agreed[name] = value
    return agreed or None
