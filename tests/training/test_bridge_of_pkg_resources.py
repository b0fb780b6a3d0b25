"""mmengine finds installed packages without setuptools' pkg_resources, and a genuine one goes first."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import bench
from bench.training import pkg_resources_bridge

# of a process in which pkg_resources is not installed, whatever this environment has
ABSENT = """
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name == "pkg_resources" else self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)

sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]
"""


def run(code: str, path: Path | None = None) -> list[str]:
    """Return the lines that `code` prints in a process of its own; modules of the folder `path` go first."""
    root = str(Path(bench.__file__).parents[1])
    setup = f"import sys; sys.path[:0] = {[str(path), root] if path else [root]!r}\n"
    done = subprocess.run([sys.executable, "-c", setup + code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_without_it_nothing_is_served_before_install() -> None:
    code = """
try:
    import pkg_resources
except ModuleNotFoundError as error:
    print(error)
"""
    assert run(ABSENT + code) == ["No module named 'pkg_resources'"]


def test_mmengine_finds_installed_packages_and_a_configuration_inside_one() -> None:
    code = """
import bench.training.mmengine_parts
import mmdet, pathlib
from mmengine.config import Config
from mmengine.utils import get_installed_path, is_installed, package_utils
import pkg_resources
print(pathlib.Path(pkg_resources.__file__).name)
print(is_installed("mmdet"), is_installed("mmdet"), is_installed("no-such-package"))
print(pathlib.Path(get_installed_path("mmdet")) == pathlib.Path(mmdet.__file__).parent)
print(package_utils.package2module("mmcv-lite"))
try:
    get_installed_path("no_such_package")
except pkg_resources.DistributionNotFound as error:
    print("none:", error.name)
pathlib.Path(CONFIG).write_text("_base_ = 'mmdet::_base_/models/faster-rcnn_r50_fpn.py'")
print(Config.fromfile(CONFIG).model.type)
"""
    config = "import tempfile; CONFIG = tempfile.mkdtemp() + '/own.py'\n"
    assert run(ABSENT + config + code)[-6:] == [
        "pkg_resources_bridge.py",
        "True True False",
        "True",
        "mmcv",
        "none: no_such_package",
        "FasterRCNN",
    ]


def test_a_genuine_one_goes_first(tmp_path: Path) -> None:
    (tmp_path / "pkg_resources.py").write_text("MARK = 'genuine'")
    code = "from bench.training import pkg_resources_bridge as b; b.install(); import pkg_resources; print(pkg_resources.MARK)"
    assert run(code, tmp_path) == ["genuine"]


def test_installing_twice_adds_one_finder() -> None:
    pkg_resources_bridge.install()
    before = list(sys.meta_path)
    pkg_resources_bridge.install()
    ours = [finder for finder in before if type(finder).__module__ == pkg_resources_bridge.__name__]
    assert sys.meta_path == before and len(ours) == 1  # others, such as six, may stand behind it


def test_what_mmengine_does_not_need_is_refused_by_name() -> None:
    with pytest.raises(AttributeError, match="pkg_resources.iter_entry_points is not served.*setuptools<82"):
        pkg_resources_bridge.iter_entry_points  # noqa: B018
    with pytest.raises(FileNotFoundError, match="has no metadata file none.txt"):
        pkg_resources_bridge.get_distribution("numpy").get_metadata("none.txt")


def test_one_module_imports_mmengine_where_it_is_loaded() -> None:
    """Elsewhere mmengine, mmdet and mmcv are imported inside functions, behind `mmcv_bridge.install`."""
    found = set()
    for path in Path(bench.__file__).parent.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if {name.partition(".")[0] for name in names} & {"mmengine", "mmdet", "mmcv"}:
                found.add(path.name)
    assert found == {"mmengine_parts.py"}
