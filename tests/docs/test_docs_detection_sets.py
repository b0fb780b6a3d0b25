"""What the guide says of detection sets is true: its commands verify sets made as it draws them, its YAML is a valid
section.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from command_line import REPOSITORY, Bench
from ship_files import coco, write_coco, write_tiff, write_voc

from bench.core.validation import validate
from bench.data.dataset import open_dataset
from bench.data.splits import make_split
from bench.detection.spec import DetectionSection

SECTION = (
    (REPOSITORY / "docs" / "adding-a-dataset.md")
    .read_text(encoding="utf-8")
    .split("## Scenes with ships")[1]
    .split("\n## ")[0]
)


def make(folder: Path) -> None:
    """Write both layouts as the guide draws them, into one folder."""
    write_tiff(folder / "JPEGImages" / "a.tif", 40, 30)
    write_voc(folder / "Annotations" / "a.xml", [[1, 2, 9, 9]], (40, 30))
    for number, name in enumerate(("train", "test")):
        write_coco(
            folder, {f"{name}.json": coco({f"{name}{k}.png": [[1, 1, 5, 5]] for k in range(3)}, first_id=10 * number)}
        )
    rows = [f"{name}{k},{name}{k},{'inshore' if k else 'offshore'}" for name in ("train", "test") for k in range(3)]
    (folder / "scenes.csv").write_text("\n".join(["id,scene,shore", *rows]) + "\n")


def test_the_commands_find_no_problem(bench: Bench) -> None:
    make(bench.folder / "DIR")
    commands = re.findall(r"^bench (data verify .*)$", SECTION, flags=re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        assert "no problem found" in bench(*shlex.split(command)).stdout


def test_the_section_is_valid_and_its_split_can_be_made(tmp_path: Path) -> None:
    make(tmp_path)
    (shown,) = re.findall(r"^```yaml\n(.*?)^```", SECTION, flags=re.MULTILINE | re.DOTALL)
    section = validate(DetectionSection, yaml.safe_load(shown)["detection"], "the guide")
    entry = section.datasets["mine"]
    index = open_dataset(entry.dataset, entry.options, tmp_path, tmp_path / "cache", kind="ships").index()
    split = make_split(index, entry.splits["cross"])
    assert len(split.test) == 2 and len(split.validation) == 1 and set(index.column("shore")) == {"inshore", "offshore"}


@pytest.mark.parametrize("name", ["one_based", "match", "categories", "scene_pattern", "table", "sar_scale"])
def test_the_options_that_it_names_exist(name: str) -> None:
    from bench.data.ships.voc_scenes import VocOptions

    assert name in SECTION and name in VocOptions.model_fields
