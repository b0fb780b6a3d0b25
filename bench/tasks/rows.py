"""Which rows of a section are meant: the filters on methods, components and backbones, the same for every task.

Filters that name rows (--method, --matcher, --detector) give these rows. Those that re-target rows (--backbone,
--control, --pretrain) give what the new rows are compared with too: the reference, and the rows that train nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.core.errors import NotSelected
from bench.core.registries import BACKBONES
from bench.execution.cell import Selection
from bench.suite.selection import check_known
from bench.tasks.fusion import fused_rows
from bench.tasks.section import FUSION

if TYPE_CHECKING:
    from bench.suite.config import Suite
    from bench.suite.expansion import MethodRow
    from bench.tasks.base import SectionTask

RETARGETING = frozenset({"backbone", "control", "pretrain"})
Methods = dict[str, tuple[Any, dict[str, str]]]  # row label -> its entry, and the options that select it again


def select_methods(task: SectionTask, methods: Mapping[str, Any], selection: Selection) -> Methods:
    """Return the entries of a section that pass --method, the task's own filter such as --matcher, and --backbone.

    A component without a row of its own joins with its default options; a backbone without one re-targets the rows that
    can be built on it: `bench run matching --backbone resnet50` works on every suite.

    Raises:
        BenchError: an unknown component or backbone.
        NotSelected: a row that the section does not have.
    """
    filters = selection.filters
    chosen: Methods = {label: (method, {"method": label}) for label, method in methods.items()}
    if "method" in filters:
        check_known("method", filters["method"], chosen)
        chosen = {label: found for label, found in chosen.items() if label in filters["method"]}
    if task.component in filters:
        chosen = _with_components(task, chosen, filters[task.component])
    if "backbone" in filters:
        chosen = _with_backbones(task, chosen, filters["backbone"])
    return chosen


def _with_components(task: SectionTask, methods: Methods, wanted: Sequence[str]) -> Methods:
    names = {label: getattr(method, task.component) for label, (method, _) in methods.items()}
    out = {label: found for label, found in methods.items() if names[label] in wanted}
    for name in wanted:
        task.registry.entry(name)
        if name == FUSION and name not in names.values():
            raise NotSelected("no row of this suite is fused; a config names the members of such a row")
        if name not in names.values():
            label, entry = task.default_row(name, [method for method, _ in methods.values()])
            out[label] = (entry, {task.component: name})
    return out


def _with_backbones(task: SectionTask, methods: Methods, wanted: Sequence[str]) -> Methods:
    for name in wanted:
        BACKBONES.entry(name)
    mine = {label: task.backbone_of(method) for label, (method, _) in methods.items()}
    out = {label: found for label, found in methods.items() if mine[label] in wanted}
    for name in sorted(set(wanted) - set(mine.values())):
        for label, (method, how) in methods.items():
            if task.takes_backbone(method, name):
                own = method.backbone
                renamed = label.replace(own, name) if own and own in label else f"{label}-{name}"
                out.setdefault(renamed, (method.model_copy(update={"backbone": name}), {**how, "backbone": name}))
    return out


def with_compared(
    task: SectionTask, suite: Suite, section: Any, chosen: Methods, selection: Selection
) -> list[MethodRow]:
    """Return the rows of the `chosen` entries; with `selection.beside`, and where a filter re-targets rows and none
    names them, also the section's reference, the rows that train nothing, and of an entry with several rows the one
    that the others are compared with. None where the filters leave nothing.

    Raises:
        BenchError: an entry that names what its component does not have.
    """

    def rows_of(label: str, entry: tuple[Any, dict[str, str]], chosen_by: Selection) -> list[MethodRow]:
        if entry[0].fusion is not None:
            return fused_rows(task, suite, section, label, entry[1], chosen_by)
        return task.rows_of(label, *entry, f"{suite.name}: {task.name}.methods.{label}", chosen_by)

    selected = {label: rows_of(label, entry, selection) for label, entry in chosen.items()}
    filters = set(selection.filters)
    if not selection.beside or not filters & RETARGETING or filters & {"method", task.component}:
        return [row for rows in selected.values() for row in rows]
    if not any(selected.values()):
        return []
    reference = section.reference or task.labels(section)[0]
    entries: Methods = {label: (method, {"method": label}) for label, method in section.methods.items()} | chosen
    out: list[MethodRow] = []
    for label, entry in entries.items():
        whole, wanted = rows_of(label, entry, replace(selection, filters={})), selected.get(label, [])
        first = whole[0].label if wanted and reference not in [row.label for row in whole] else reference
        names = {first, *(row.label for row in wanted), *(row.label for row in whole if not row.trains)}
        out += [row for row in whole if row.label in names]
        out += [row for row in wanted if row.label not in [one.label for one in whole]]
    return out
