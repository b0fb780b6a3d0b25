"""docs/auditing.md: the commands and the suite in it, followed on a small set in the layout of QXS-SAROPT."""

from __future__ import annotations

import re

from command_line import REPOSITORY, Bench

from bench.data.images import write_image
from bench.data.toy import render_scene

PAGE = (REPOSITORY / "docs" / "auditing.md").read_text(encoding="utf-8")


def test_the_suite_in_the_guide_uses_both_tables(bench: Bench) -> None:
    number = 0
    for scene in range(12):
        for image, folder in zip(render_scene(2, scene, 108, 108), ("opt_256_oc_0.2", "sar_256_oc_0.2"), strict=True):
            (bench.folder / "ROOT" / folder).mkdir(parents=True, exist_ok=True)
            for i, (y, x) in enumerate(((0, 0), (0, 44), (44, 0), (44, 44))):
                write_image(bench.folder / "ROOT" / folder / str(number + i + 1), image[y : y + 64, x : x + 64])
        number += 4
    audit, plan = (re.search(rf"^bench {words} .*$", PAGE, re.MULTILINE) for words in ("data audit qxs-saropt", "plan"))
    assert audit and plan
    bench(*audit.group().split()[1:], code=1)
    assert bench.files("ROOT/audit") == [
        "ROOT/audit/layout.csv",
        "ROOT/audit/pairs.csv",
        "ROOT/audit/report.json",
        "ROOT/audit/split.csv",
    ]
    suite = re.search(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert suite
    bench.write("my.yaml", suite.group(1))
    out = bench(*plan.group().split()[1:]).stdout
    assert "qxs-saropt/audited" in out and "qxs-saropt/wide-guard" in out and "missing" not in out
