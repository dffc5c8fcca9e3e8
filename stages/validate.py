"""Check the catalog, the split and the clips with Great Expectations, before training.

Data that meet all expectations are also compared with those that were accepted last, so that
nothing is trained on a change that nobody meant. The verdict says nothing of that: the same data
that pass give the same bytes, on every machine.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from kinoflow import config
from kinoflow.data import tables
from kinoflow.data.clips import ClipStore
from kinoflow.reports.records import Finding, Verdict
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.video.spec import ClipSpec
from kinoflow.workspace import Workspace, run
from stages import validate_history, validate_page, validate_tables
from stages.validate_history import Comparison
from stages.validate_page import Check
from stages.validate_suites import suites

if TYPE_CHECKING:
    from great_expectations.data_context.data_context.ephemeral_data_context import (
        EphemeralDataContext,
    )
    from great_expectations.expectations.expectation import Expectation

_LISTED = 10  # how many videos validation.json names


def validate(
    videos: pd.DataFrame,
    split: pd.DataFrame,
    store: ClipStore,
    spec: ClipSpec,
    site: Path,
    *,
    random: bool = False,
    folds: pd.DataFrame | None = None,
    differs: Callable[[], Sequence[str]] = tuple,
) -> list[Finding]:
    """Check that a catalog, its split and its clips are as training expects them.

    Writes a page with every expectation, and the values that do not meet it.

    Args:
        videos: the catalog.
        split: the split.
        store: the clips, with their records.
        spec: what a clip has to be.
        site: the folder of the page, index.html.
        random: whether the split was drawn without regard to groups.
        folds: the table `tables.FOLDS`, if there are folds.
        differs: gives what stands against training on the data beside those that were accepted
            before, for the page. It is called if nothing else does.

    Returns the expectations that are not met.
    """
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    videos = videos.mask(videos == "")  # Great Expectations looks for null
    checked = {
        "catalog": validate_tables.catalog_table(videos, split),
        "split": validate_tables.split_table(split, videos),
        "clips": validate_tables.clips_table(store, videos),
    }
    if folds is not None:
        checked["folds"] = validate_tables.folds_table(folds, videos)
    results = {
        name: _run_suite(context, name, checked[name], suite)
        for name, suite in suites(spec, random, folds is not None).items()
    }
    findings = [
        _finding(name, result)
        for name, found in results.items()
        for result in found
        if not result.success
    ]
    checks = {name: [_check(result) for result in found] for name, found in results.items()}
    blocked = any(finding.severity == "critical" for finding in findings)
    page = validate_page.render(checks, () if blocked else differs())
    files.write_text(site / "index.html", page)
    return findings


def _run_suite(
    context: "EphemeralDataContext", name: str, table: pd.DataFrame, suite: "list[Expectation]"
) -> list[Any]:
    """Great Expectations' result of each expectation of a table."""
    import great_expectations as gx

    asset = context.data_sources.add_pandas(name).add_dataframe_asset(name)
    definition = gx.ValidationDefinition(
        name=name,
        data=asset.add_batch_definition_whole_dataframe("all"),
        suite=context.suites.add(gx.ExpectationSuite(name=name, expectations=suite)),
    )
    outcome = context.validation_definitions.add(definition).run(
        batch_parameters={"dataframe": table},
        result_format={
            "result_format": "COMPLETE",
            "unexpected_index_column_names": ["video"],
            "return_unexpected_index_query": False,
        },
    )
    results: list[Any] = outcome.results
    return results


def _finding(table: str, result: Any) -> Finding:
    """A result that is not met, as validation.json and the terminal show it.

    Raises RuntimeError for an expectation that could not be checked.
    """
    config = result.expectation_config
    if not result.result:
        raise RuntimeError(f"{table}: {config.type} could not run: {result.exception_info}")
    rows = result.result.get("unexpected_index_list") or []
    videos = sorted({row["video"] for row in rows if not pd.isna(row["video"])})
    return Finding(
        table=table,
        expectation=config.type,
        column=config.kwargs["column"],
        severity=config.severity.value,
        meaning=config.description,
        videos=tuple(videos[:_LISTED]),
        count=len(videos),
    )


def _check(result: Any) -> Check:
    """A result as the page shows it."""
    config = result.expectation_config
    column = config.kwargs["column"]
    terms = [
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in config.kwargs.items()
        if name not in ("column", "batch_id", "row_condition")
    ]
    rows = result.result.get("unexpected_index_list") or []
    return Check(
        column=column,
        expectation=" ".join([config.type, ", ".join(terms)]).strip(),
        meaning=config.description,
        blocks=config.severity.value == "critical",
        met=result.success,
        rows=result.result.get("element_count"),
        failing=validate_page.values((row["video"], row[column]) for row in rows),
    )


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    # if this stage fails, training must not read an older verdict
    workspace.validation.unlink(missing_ok=True)
    kfold = params.split.method == "group_kfold"
    videos = tables.read(workspace.catalog, tables.CATALOG)
    comparison = Comparison(workspace, params, videos)
    differences: list[str] = []

    def differs() -> list[str]:
        differences.extend(comparison.unexpected())
        return differences

    with files.replacing_folder(workspace.validation_site) as site:
        findings = validate(
            videos,
            tables.read(workspace.split, tables.SPLIT),
            ClipStore(workspace.clips),
            params.clip,
            site,
            random=params.split.method == "random",
            folds=tables.read(workspace.folds, tables.FOLDS) if kfold else None,
            differs=differs,
        )
    failures = tuple(finding for finding in findings if finding.severity == "critical")
    warnings = tuple(finding for finding in findings if finding.severity == "warning")
    for finding in warnings:
        print(f"warning: {finding}", file=sys.stderr)
    page = workspace.validation_site / "index.html"
    why = [str(finding) for finding in failures] or differences
    verdict = "failed" if failures else "differs" if differences else "passed"
    validate_history.keep(workspace, videos, verdict, len(warnings), why)
    if not differences:
        Verdict(
            passed=not failures, split=params.split.method, failures=failures, warnings=warnings
        ).write(workspace.validation)
    if failures:
        raise UserError(f"the data failed validation: {'; '.join(why)}; details are in {page}")
    if differences:
        raise UserError(f"{'; '.join(why)}; details are in {page}")
    comparison.accept()
    print(f"validate: passed, warnings: {len(warnings)}, see {page}")


if __name__ == "__main__":
    run(main)
