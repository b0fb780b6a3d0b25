"""How a user writes a split: the spec, its defaults and its contradictions. What it does to samples is in
`splits.py`.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from bench.data.csv_files import CellText

FOLD_KEYS = ("folds", "fold", "stratify")


class SplitSpec(BaseModel):
    """How to split.

    Attributes:
        kind: "random" by sample (as the QXS-SAROPT paper; leaks places), "grouped" by a column, "folds"
            (cross-validation), or "file" (a CSV written by `write_split`).
        train, test: shares; given one, the other is what remains; default test 0.3. Not with `test_groups`.
        validation: share; default 0.1, 0 for none. Not with `validation_groups`.
        validation_from: "train": validation is that share *of the training share* (train 0.7, validation 0.1: 63 %
            and 7 %); "all": a share of everything beside train and test.
        by: column of the leakage groups ("grouped", "folds": none is in test and elsewhere). Default: scene; under
            "folds" the id where scenes are unknown. Under "random" it only names the groups.
        validation_by: column that separates train from validation; default `by`. Finer than `by` where test is one of
            two big groups.
        test_groups, validation_groups: exactly these values of `by` / `validation_by`.
        folds, fold: of kind "folds": how many parts the groups are dealt into, and which of them (from 0) is the test
            part; validation is a share of the rest.
        stratify: of kind "folds": columns whose values (together: the stratum) are spread evenly over the folds.
        guard_m: training and validation pairs whose place has a gap to any test place smaller than this are dropped,
            then training pairs near a validation place. 0 drops nothing, not even overlapping places.
        labelled: share of the training part that stays, in whole groups of `validation_by` (default `by`); the rest
            counts as without labels and is dropped. Test and validation are those without this key.
        require: only pairs whose columns have these values; others are dropped.
        seed: of the chance.
        path: the CSV of kind "file".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["random", "grouped", "folds", "file"] = "random"
    train: float | None = Field(default=None, gt=0, lt=1)
    validation: float | None = Field(default=None, ge=0, lt=1)
    test: float | None = Field(default=None, gt=0, lt=1)
    validation_from: Literal["train", "all"] = "train"
    by: str | None = None
    validation_by: str | None = None
    test_groups: tuple[CellText, ...] | None = None
    validation_groups: tuple[CellText, ...] | None = None
    folds: int | None = Field(default=None, ge=2)
    fold: int | None = Field(default=None, ge=0)
    stratify: tuple[str, ...] = ()
    labelled: float | None = Field(default=None, gt=0, lt=1)
    guard_m: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    require: dict[str, CellText] = {}
    seed: int = Field(default=0, ge=0)
    path: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> SplitSpec:
        if (self.path is not None) != (self.kind == "file"):
            raise ValueError("`path` and kind: file belong together")
        if self.kind == "file":
            extra = sorted(self.model_fields_set - {"kind", "path"})
            changed = [name for name in extra if getattr(self, name) != type(self).model_fields[name].default]
            if changed:
                raise ValueError(f"a split file settles everything; remove {', '.join(changed)}")
        if self.kind != "grouped" and (self.test_groups or self.validation_groups or self.validation_by):
            raise ValueError("test_groups, validation_groups and validation_by need kind: grouped")
        self._check_folds()
        if self.test_groups is not None and (self.train is not None or self.test is not None):
            raise ValueError("test_groups settles the test part; remove train and test")
        if self.validation_groups is not None and self.validation is not None:
            raise ValueError("validation_groups settles the validation part; remove validation")
        if self.test_groups is None and self.kind in ("random", "grouped"):
            self.shares()
        return self

    def _check_folds(self) -> None:
        """Raise ValueError where the keys of kind "folds" are missing, contradict each other or stand elsewhere."""
        if self.kind != "folds":
            given = [name for name in FOLD_KEYS if getattr(self, name) not in (None, ())]
            if given:
                raise ValueError(f"{', '.join(given)} need kind: folds")
            return
        if self.folds is None:
            raise ValueError("kind: folds needs folds, e.g. folds: 3")
        if self.fold is not None and self.fold >= self.folds:
            raise ValueError(f"fold {self.fold} of {self.folds} folds; they count from 0 to {self.folds - 1}")
        if self.train is not None or self.test is not None or self.validation_from != "train":
            raise ValueError(
                "folds settle the test part, and validation is a share of the rest; remove train, test and"
                " validation_from"
            )

    @model_serializer(mode="wrap")
    def _without_unused(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave the keys that are younger than committed records out of the dump where they are not used."""
        out: dict[str, Any] = dump(self)
        unused = {key for key in FOLD_KEYS if self.kind != "folds"} | ({"labelled"} if self.labelled is None else set())
        return {key: value for key, value in out.items() if key not in unused}

    def shares(self) -> tuple[Fraction, Fraction, Fraction]:
        """Return the exact shares (train, validation, test) of all pairs.

        Raises:
            ValueError: they do not add up to 1.
        """
        beside = Fraction(0) if self.validation_from == "train" else self.validation_share()
        test = exact(0.3 if self.test is None else self.test)
        if self.test is None and self.train is not None:
            test = 1 - beside - exact(self.train)
        train = exact(self.train) if self.train is not None else 1 - beside - test
        if train <= 0 or test <= 0 or abs(train + test + beside - 1) > Fraction(1, 10**6):
            parts = "train + test" if self.validation_from == "train" else "train + validation + test"
            raise ValueError(
                f"{parts} must add up to 1 with none of them 0; got train {float(train):g}, test {float(test):g}"
            )
        if self.validation_from == "train":
            return train * (1 - self.validation_share()), train * self.validation_share(), test
        return train, beside, test

    def validation_share(self) -> Fraction:
        """Return the validation share as written: of train or of all, by `validation_from`."""
        return exact(0.1 if self.validation is None else self.validation)


def exact(share: float) -> Fraction:
    """Return the decimal number the user wrote: 0.3, not the float below it."""
    return Fraction(repr(float(share)))
