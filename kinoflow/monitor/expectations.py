"""What Great Expectations expects of the table of logged answers, whatever they were compared with.

It finds what no statistic of drift is made for: a log that is damaged, labels that the model does
not have, clips that show nothing.
"""

from collections.abc import Collection
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from kinoflow.monitor.answers import Served
from kinoflow.monitor.inputs import NUMBERS

if TYPE_CHECKING:
    import pandas as pd

_NAME = "answers"


class Expected(BaseModel):
    """An expectation of the logged answers, and how far they meet it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    meaning: str  # in plain words
    met: bool
    failing: int  # answers that do not meet it
    answers: int  # that have a value in this column


def table(answers: Served) -> "pd.DataFrame":
    """The logged answers with a row for each, as Great Expectations takes them."""
    import numpy as np
    import pandas as pd

    columns = {name: answers.number(name) for name in NUMBERS}
    known = {
        "answer": answers.id,
        "label": answers.label,
        "confidence": answers.confidence,
        **columns,
        "codec": [codec or None for codec in answers.codec.tolist()],
        "features_finite": np.isfinite(answers.features).all(axis=1),
        "earlier": np.diff(answers.time, prepend=answers.time[:1]) < 0,
    }
    return pd.DataFrame(known)


def check(answers: Served, labels: Collection[str]) -> list[Expected]:
    """Check logged answers with Great Expectations, which takes seconds to import.

    Args:
        answers: what was logged, the oldest first.
        labels: those that the model has.

    Raises RuntimeError for an expectation that could not be checked.
    """
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas(_NAME).add_dataframe_asset(_NAME)
    definition = gx.ValidationDefinition(
        name=_NAME,
        data=asset.add_batch_definition_whole_dataframe("all"),
        suite=context.suites.add(gx.ExpectationSuite(name=_NAME, expectations=_suite(labels))),
    )
    outcome = context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": table(answers)}, result_format="SUMMARY"
    )
    return [_expected(result) for result in outcome.results]


def _suite(labels: Collection[str]) -> list[Any]:
    # mypy does not see what this package exports
    gxe: Any = import_module("great_expectations.expectations")
    among, between = gxe.ExpectColumnValuesToBeInSet, gxe.ExpectColumnValuesToBeBetween
    known = gxe.ExpectColumnValuesToNotBeNull

    def expect(kind: Any, column: str, meaning: str, **how: Any) -> Any:
        return kind(column=column, description=meaning, **how)

    return [
        expect(gxe.ExpectColumnValuesToBeUnique, "answer", "an answer is logged once"),
        expect(among, "label", "the label is one of the model's", value_set=[*labels]),
        expect(between, "confidence", "a probability", min_value=0, max_value=1),
        expect(among, "features_finite", "all features are numbers", value_set=[True]),
        expect(among, "earlier", "answers are in the order of their time", value_set=[False]),
        expect(between, "brightness", "0 to 255", min_value=0, max_value=255),
        expect(between, "contrast", "a clip is not blank", min_value=1),
        expect(between, "motion", "a clip is no still picture", min_value=0, strict_min=True),
        expect(known, "codec", "half of the answers are to videos, not arrays", mostly=0.5),
        expect(between, "seconds", "a tenth of a second to two hours", min_value=0.1,
               max_value=7200),
        expect(between, "fps", "1 to 240 frames a second", min_value=1, max_value=240),
        expect(between, "width", "16 pixels or more", min_value=16),
        expect(between, "height", "16 pixels or more", min_value=16),
    ]  # fmt: skip


def _expected(result: Any) -> Expected:
    config, found = result.expectation_config, result.result
    if not found:
        raise RuntimeError(f"{config.type} could not run: {result.exception_info}")
    missing = 0 if "not_be_null" in config.type else found.get("missing_count") or 0
    return Expected(
        column=config.kwargs["column"],
        meaning=config.description,
        met=bool(result.success),
        failing=int(found.get("unexpected_count") or 0),
        answers=int(found["element_count"]) - int(missing),
    )
