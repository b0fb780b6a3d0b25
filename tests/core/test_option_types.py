"""A mistyped option is a type error: in every shipped matcher and detector, and in a plug-in that names its options."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.core.registries import DETECTORS, MATCHERS

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
TYPOS = {
    "my_detector.py": ("self.options.min_px", "self.options.min_pixels", "BrightBlobOptions"),
    "my_matcher.py": ("self.options.smooth_px", "self.options.smoth_px", "EdgeMapOptions"),
    "my_trained_matcher.py": ("options.scale)", "options.scalee)", "SigmoidOptions"),
}


@pytest.mark.slow  # a type checker without a cache
def test_a_mistyped_option_is_a_type_error(tmp_path: Path) -> None:
    expected = []
    for registry in (MATCHERS, DETECTORS):
        for name in (name for name in registry.names() if registry.entry(name).source == "saropt-bench"):
            method = registry.get(name)
            module = f"{registry.kind}_{name.replace('-', '_')}.py"
            use = f"from {method.__module__} import {method.__name__} as Method\n\n\ndef use(method: Method) -> None:\n"
            (tmp_path / module).write_text(f"{use}    method.options.typo\n", encoding="utf-8")
            expected.append((module, method.Options.__name__, "typo"))
    for name, (right, wrong, options) in TYPOS.items():
        text = (EXAMPLES / name).read_text(encoding="utf-8")
        assert right in text
        (tmp_path / f"right_{name}").write_text(text, encoding="utf-8")
        (tmp_path / f"wrong_{name}").write_text(text.replace(right, wrong, 1), encoding="utf-8")
        expected.append((f"wrong_{name}", options, wrong.rpartition(".")[2].rstrip(")")))
    flags = ["--strict", "--cache-dir", str(tmp_path / "cache"), "--config-file", str(ROOT / "pyproject.toml")]
    command = [sys.executable, "-m", "mypy", *flags, *map(str, sorted(tmp_path.glob("*.py")))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    errors = re.findall(r'(\w+\.py):\d+: error: "(\w+)" has no attribute "(\w+)"', done.stdout)
    assert sorted(errors) == sorted(expected), done.stdout + done.stderr
    assert f"Found {len(expected)} errors" in done.stdout, done.stdout  # the templates as they stand have none
