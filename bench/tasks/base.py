"""A task whose methods are registered components, measured on data sets with splits: what every such task shares.

Owns the expansion of its section, the skeleton of a cell's keys and inputs, and the stages train and predict. A task
says how its data are opened, how a component is built, fitted and run, and what else enters a key.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, get_args

from bench.core.errors import BenchError, MissingInputs, NotSelected
from bench.core.options import check_overridden, option_values, options_for
from bench.core.registries import BACKBONES
from bench.core.registry import Registry
from bench.core.store import read_json
from bench.core.validation import validate
from bench.core.workspace import Workspace
from bench.data.manifest import file_sha256
from bench.data.scaling import VERSION as SCALING_VERSION
from bench.data.windows import left_out_line
from bench.execution.cell import Cell, Identity, Origin, Selection
from bench.execution.record_schema import StatedParts
from bench.execution.records import MODEL, TRAIN, Record, cell_of
from bench.execution.task import Job, Task, get_task
from bench.models.states import load_state, save_state
from bench.submissions.request import METHOD, submitted_file
from bench.submissions.sheets import FORMATS
from bench.suite.config import Suite
from bench.suite.data_plan import Kind, PlannedData, is_plugin, plan_data, plugin_sha256
from bench.suite.expansion import MethodRow, expand_section
from bench.suite.selection import shown
from bench.suite.smoke import replaced_by
from bench.tasks.data import load_pairs, load_scenes
from bench.tasks.fusion import Member, find_members, members_keyed, members_stated, reads
from bench.tasks.keys import KeyParts, Version
from bench.tasks.record_schema import SectionParts
from bench.tasks.rows import Methods, select_methods, with_compared

TRAINING_DATA = "training_data"
"""Among a record's inputs: what stands in the train key in place of "data", where a training does not see data as they
are tested."""


@dataclass(frozen=True)
class Inputs:
    """What planning finds of a cell.

    Attributes:
        plan: its data. files: name -> file that the cell names ("initial", "results"). hashes: their SHA-256.
        sources: identities of the cells that it requires, in their order.
    """

    plan: PlannedData
    files: Mapping[str, Path]
    hashes: Mapping[str, str]
    sources: Sequence[Identity]


class SectionTask(Task):
    """Base of a task with a section of data sets and methods (`bench.tasks.section`).

    Class attributes:
        component: the key of a method's entry that names its component, "matcher"; `registry` knows the components.
        kind, smallest: of the data sets, and the number of samples a part from which `--limit` makes sense.
        decodes: what loading decodes, and what is counted: ("images", "pair").
        formats: suffixes of files that a submission of this task may have.
        metrics_version: raise when a metric's definition changes: every cell is then scored again, none trained again.
    """

    component: ClassVar[str]
    registry: ClassVar[Registry]
    kind: ClassVar[Kind] = "pairs"
    smallest: ClassVar[int] = 4
    decodes: ClassVar[tuple[str, str]] = ("images", "pair")
    formats: ClassVar[tuple[str, ...]] = FORMATS
    metrics_version: ClassVar[int] = 1
    record_schema: ClassVar[type[StatedParts]] = SectionParts

    # -- cells ---------------------------------------------------------------------------------------------------------
    def expand(self, suite: Suite, section: Any, selection: Selection, origin: Origin) -> list[Cell]:
        return expand_section(self, suite, section, selection, origin)

    def rows(self, suite: Suite, section: Any, selection: Selection) -> list[MethodRow]:
        """Return the rows that pass the selection, in board order.

        Raises:
            BenchError: an unknown component or backbone, options that a component does not know.
            NotSelected: no row passes.
        """
        methods = self.narrow(select_methods(self, section.methods, selection), selection)
        rows = with_compared(self, suite, section, methods, selection)
        if not rows:
            wanted, known = shown(selection.filters), ", ".join(section.methods)
            raise NotSelected(f"no method of the suite fits {wanted}; it has: {known}")
        return rows

    def narrow(self, methods: Methods, selection: Selection) -> Methods:
        """Return the methods that pass the task's further filters."""
        return methods

    def labels(self, section: Any) -> list[str]:
        """Return the labels of all rows of the section, whatever is selected."""
        return list(section.methods)

    def default_row(self, name: str, others: Sequence[Any]) -> tuple[str, Any]:
        """Return label and entry of a row with a component's default options; `others` are the section's entries."""
        entry = get_args(type(self).Section.model_fields["methods"].annotation)[1]
        return name, entry.model_validate({self.component: name})

    def backbone_of(self, method: Any) -> str | None:
        """Return the backbone of a row."""
        name: str | None = method.backbone
        return name

    def takes_backbone(self, method: Any, name: str) -> bool:
        """Return whether a row can be built on the backbone `name`."""
        return bool(method.backbone)

    def rows_of(
        self, label: str, method: Any, names: Mapping[str, str], where: str, selection: Selection
    ) -> list[MethodRow]:
        """Return the rows of one entry, checked; one unless the task makes several of it."""
        return [self.row(label, method, names, where, selection.smoke, {})]

    def row(
        self,
        label: str,
        method: Any,
        names: Mapping[str, str],
        where: str,
        smoke: bool,
        places: Mapping[str, str | None],
    ) -> MethodRow:
        """Return one row, its options validated and written out."""
        component = self.registry.get(getattr(method, self.component))
        written = validate(component.Options, method.options, f"{where}.options")
        check_overridden(written, f"{where}.options")
        if not component.trains and method.precision != "fp32":
            raise BenchError(f"{where}: precision is of trainings, and this method trains nothing; remove it")
        if not component.seeded and method.seeds is not None:
            raise BenchError(f"{where}: seeds change nothing of this method, which runs once; remove them")
        options = options_for(written, smoke)
        files = {**places, "results": method.options.get("results")}
        return MethodRow(label, method, component, option_values(options), names, files, where)

    def required(
        self, row: Any, section: Any, suite: Suite, seed: int | None, selection: Selection, origin: Origin
    ) -> tuple[Cell, ...]:
        """Return the cells whose training a cell of this row starts from; none by default."""
        return ()

    def dataset_spec(self, entry: Any) -> dict[str, Any]:
        """Return what the spec of a data set holds beside name, options, split and SAR scaling."""
        return {}

    def method_spec(self, row: Any, required: tuple[Cell, ...]) -> dict[str, Any]:
        """Return what the spec of a method holds beside component, backbone, options and precision."""
        return {}

    # -- keys ----------------------------------------------------------------------------------------------------------
    def identify(self, cell: Cell, workspace: Workspace) -> Identity:
        found = self._find_inputs(cell, workspace)
        plan = found.plan
        inputs = {
            "data": plan.identity(),
            "split_counts": plan.counts(),
            "split_summary": plan.split.summary,
            **plan.losses(),
            **plan.audited(cell.spec["dataset"]["split"]),
            **self.inputs(cell, found, workspace),
            **members_stated(cell, found.sources),
        }
        plugin = plugin_sha256(self.component_of(cell), workspace)
        if plugin is not None:
            inputs["plugin_sha256"] = plugin
        requires = tuple(
            (required.task, source.keys.train) for required, source in zip(cell.requires, found.sources, strict=True)
        )
        train = self.train_parts(cell, inputs, [key for _, key in requires])
        keys = KeyParts(train, self.predict_parts(cell, inputs), self.score_parts(cell)).keys()
        replaced = replaced_by(found.files.get("initial"))
        if replaced is not None:
            inputs["replaced_weights"] = replaced
        read = reads(cell, found.sources)
        return Identity(keys, inputs, self.size(cell, found), plan.data_key(), requires, read)

    def train_parts(self, cell: Cell, inputs: Mapping[str, Any], requires: Sequence[str]) -> dict[str, Any]:
        """Return what the train key of a cell is made of: what its record keeps, and version constants of the code.

        Args:
            inputs: as in the record. requires: the train keys of the cells that this one starts from.
        """
        component, backbone = self.component_of(cell), cell.spec["method"]["backbone"]
        return {
            "task": self.name,
            f"{self.component}_version": Version(component.version),
            **({"plugin_sha256": inputs["plugin_sha256"]} if "plugin_sha256" in inputs else {}),
            "backbone_version": Version(BACKBONES.get(backbone).version) if backbone else None,
            "data": inputs.get(TRAINING_DATA, inputs["data"]),
            "scaling": [Version(SCALING_VERSION), *self.scalings(cell)],
            "seed": cell.seed,
            **self.train_identity(cell, inputs, requires),
        }

    def predict_parts(self, cell: Cell, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the predict key is made of besides the train key, which may stand for other data."""
        tested = {"data": inputs["data"]} if TRAINING_DATA in inputs else {}
        return {**tested, **members_keyed(inputs), **self.predict_identity(cell)}

    def score_parts(self, cell: Cell) -> dict[str, Any]:
        """Return what the score key is made of besides the predict key."""
        return {"protocol": cell.spec["protocol"]["name"], "metrics_version": Version(self.metrics_version)}

    def wrong_key(self, record: Record) -> str:
        cell = cell_of(record)
        train = None
        # of an early record of a plug-in, and where another component now has its name, this key cannot be made again
        known = self.registry.knows(cell.spec["method"][self.component])
        if known and is_plugin(self.component_of(cell)) == ("plugin_sha256" in record.inputs):
            train = self.train_parts(cell, record.inputs, [key.partition(":")[2] for key in record.requires])
        parts = KeyParts(train, self.predict_parts(cell, record.inputs), self.score_parts(cell))
        return parts.wrong(record.keys)

    def scalings(self, cell: Cell) -> list[str | None]:
        """Return the named scalings of the cell's views."""
        return [cell.spec["dataset"]["sar_scaling"]]

    def train_identity(self, cell: Cell, inputs: Mapping[str, Any], requires: Sequence[str]) -> dict[str, Any]:
        """Return what else can change the outcome of the training: the method, its files, the task's versions.

        Args:
            inputs: as in the record. requires: the train keys of the cells that this one starts from.
        """
        return {"method": dict(cell.spec["method"]), "files": dict(inputs.get("files_sha256", {}))}

    def predict_identity(self, cell: Cell) -> dict[str, Any]:
        """Return what can change the predictions of a trained component."""
        return {}

    def inputs(self, cell: Cell, found: Inputs, workspace: Workspace) -> dict[str, Any]:
        """Return further facts of the inputs for the record: the hashes that enter the keys, and what enters none."""
        return {"files_sha256": dict(found.hashes)} if found.hashes else {}

    def size(self, cell: Cell, found: Inputs) -> int:
        """Return the number of samples that a cell trains on and predicts, for estimates of cost."""
        return sum(found.plan.counts().values())

    def _find_inputs(self, cell: Cell, workspace: Workspace) -> Inputs:
        """Return what a cell reads and starts from.

        Raises:
            MissingInputs: all that is missing, in one error.
        """
        missing: list[str] = []
        plan, files, sources = None, {}, []
        try:
            plan = self.plan(cell, workspace)
        except BenchError as error:
            missing.append(str(error))
        try:
            initial = self.initial_file(cell, workspace)
            files = {} if initial is None else {"initial": initial}
            if "results" in cell.origin.places:
                files["results"] = submitted_file(cell, self.formats)
                if plan is not None:
                    self.check_submission(cell, plan)
        except BenchError as error:
            missing.append(str(error))
        for required in cell.requires:
            try:
                sources.append(get_task(required.task).identify(required, workspace))
            except MissingInputs as error:
                missing += error.messages
        if plan is None or missing:
            raise MissingInputs(missing)
        return Inputs(plan, files, {name: file_sha256(path, workspace.cache) for name, path in files.items()}, sources)

    def plan(self, cell: Cell, workspace: Workspace) -> PlannedData:
        """Return the planned data of a cell. Raises BenchError where they are missing or do not suit it."""
        return plan_data(cell, workspace, self.kind, self.smallest)

    def initial_file(self, cell: Cell, workspace: Workspace) -> Path | None:
        """Return the file of the initial weights, None for a random start. Raises BenchError where it is missing."""
        return None

    def check_submission(self, cell: Cell, plan: PlannedData) -> None:
        """Raise BenchError where the file of a submitted cell does not fit its data, as far as planning can see."""

    # -- stages --------------------------------------------------------------------------------------------------------
    def prepare(self, job: Job) -> None:
        if job.cell.fused:
            return  # it is made of predictions, so no image is read
        inputs = job.identity.inputs
        lost = left_out_line(inputs.get("left_out", {}), by=inputs.get("left_out_by"))
        if lost:
            job.context.log(lost)
        self.load(job)

    def train(self, job: Job) -> dict[str, Any]:
        if self.is_submitted(job.cell) or job.cell.fused:
            return {"outputs": {}}  # nothing is trained, so no image is read
        data = self.load(job)
        scaling = self.fit_scaling(job.cell, data)
        component = self.build(job, scaling, data)
        facts = self.fit(component, job, data, scaling)
        state = component.state()
        outputs = {}
        if state:
            save_state(job.folder / MODEL, state)
            outputs["weights_sha256"] = file_sha256(job.folder / MODEL, None)
        return {**facts, "scaling": self.scaling_to_json(scaling), "outputs": outputs}

    def predict(self, job: Job) -> dict[str, Any]:
        if job.cell.fused:
            return self.fuse(job, find_members(job))
        data = self.load(job)
        if self.is_submitted(job.cell):
            return self.predict_submission(job, data)
        scaling = self.scaling_from_json(read_json(job.folder / TRAIN)["facts"]["scaling"])
        component = self.build(job, scaling, data)
        if (job.folder / MODEL).is_file():
            component.load_state(load_state(job.folder / MODEL))
        return self.predict_with(component, job, data)

    def component_of(self, cell: Cell) -> Any:
        """Return the registered class of a cell's method."""
        return self.registry.get(cell.spec["method"][self.component])

    def trains(self, cell: Cell) -> bool:
        return bool(self.component_of(cell).trains)

    def is_submitted(self, cell: Cell) -> bool:
        """Return whether the predictions of a cell come from another tool."""
        return bool(cell.spec["method"][self.component] == METHOD)

    def load(self, job: Job) -> Any:
        """Open the decoded data of a job, decoding them with progress on the first call."""
        what, unit = self.decodes
        with job.context.progress.whole(f"decode {what}", unit) as report:
            return self.open(self.plan(job.cell, job.workspace), job.workspace.cache, report)

    def open(self, plan: PlannedData, cache: Path, progress: Any) -> Any:
        """Return the parts of the data as views on the decoded cache."""
        return (load_pairs if self.kind == "pairs" else load_scenes)(plan, cache, progress)

    def fit_scaling(self, cell: Cell, data: Any) -> Any:
        """Return the scaling of pixel values, its statistics taken from the training part alone; None for a task that
        works on values as they are stored.
        """
        return None

    def scaling_to_json(self, scaling: Any) -> Any:
        """Return a scaling as it stands in a record."""
        return scaling

    def scaling_from_json(self, raw: Any) -> Any:
        """Return the scaling that stands in a record."""
        return raw

    @abstractmethod
    def build(self, job: Job, scaling: Any, data: Any) -> Any:
        """Return the cell's component, prepared but neither fitted nor loaded."""

    @abstractmethod
    def fit(self, component: Any, job: Job, data: Any, scaling: Any) -> dict[str, Any]:
        """Fit the component; return facts for the record."""

    @abstractmethod
    def predict_with(self, component: Any, job: Job, data: Any) -> dict[str, Any]:
        """Write the predictions file of a fitted component; return facts for the record."""

    def predict_submission(self, job: Job, data: Any) -> dict[str, Any]:
        """Write the predictions file from what another tool handed in; return facts for the record."""
        raise BenchError(f"the task {self.name} takes no predictions of other tools")

    def fuse(self, job: Job, members: Sequence[Member]) -> dict[str, Any]:
        """Write the predictions file of a fused row from its members'; return facts for the record."""
        raise BenchError(f"the task {self.name} fuses no rows")
