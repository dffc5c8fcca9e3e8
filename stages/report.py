"""Make the page of a run, reports/index.html, and the numbers behind its figures."""

import pandas as pd

from kinoflow import config
from kinoflow.data import tables
from kinoflow.reports import leaderboard, page
from kinoflow.system import files
from kinoflow.workspace import Workspace, run
from stages import (
    report_data,
    report_decision,
    report_explanations,
    report_forms,
    report_inputs,
    report_leaderboard,
    report_winner,
)
from stages.report_inputs import Inputs


def render(inputs: Inputs) -> tuple[str, dict[str, pd.DataFrame]]:
    """The page as HTML, and the numbers of its figures and tables by the name of their file.

    The only date is that of the decision on promotion: the same results give the same bytes.
    """
    board, candidates = report_leaderboard.leaderboard(inputs)
    published, published_numbers = report_leaderboard.published(inputs)
    differences, pairs = report_leaderboard.differences(inputs)
    winner, winner_numbers = report_winner.winner(inputs)
    footage, footage_numbers = report_winner.more_footage(inputs)
    orders, order_numbers = report_winner.orders(inputs)
    forms, form_numbers = report_forms.forms(inputs)
    explanations, explanation_numbers = report_explanations.explanations(inputs)
    data, classes = report_data.data(inputs)
    text = page.render(
        "report.html",
        name=inputs.winner.name,
        metrics=inputs.winner.metrics,
        timing=inputs.winner.timing,
        description=inputs.description,
        choice=inputs.choice,
        caution=leaderboard.caution(inputs.workspace),
        tested={"clips": len(inputs.groups), "recordings": pd.Series(inputs.groups).nunique()},
        trust=report_data.trust(inputs),
        decision=report_decision.decision(inputs.decision),
        board=board,
        published=published,
        differences=differences,
        winner=winner,
        refit=inputs.refit,
        footage=footage,
        orders=orders,
        forms=forms,
        explanations=explanations,
        data=data,
        split=inputs.params.split,
    )
    return text, {
        "leaderboard": candidates,
        "published": published_numbers,
        "differences": pairs,
        **winner_numbers,
        **footage_numbers,
        **order_numbers,
        **form_numbers,
        **explanation_numbers,
        "classes": classes,
    }


def main(workspace: Workspace) -> None:
    inputs = report_inputs.read(workspace, config.load(workspace.params))
    text, numbers = render(inputs)
    with files.replacing_folder(workspace.figures) as folder:
        for name, table in numbers.items():
            tables.write(table, folder / f"{name}.csv", tables.schema_of(table))
    files.write_text(workspace.page, text)
    print(f"report: {workspace.page}, {len(text.encode()) / 1e6:.1f} MB")


if __name__ == "__main__":
    run(main)
