"""Choose the winner by its validation score, under the limits; the test set has no say."""

from typing import Any

from kinoflow import config
from kinoflow.config import Selection
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace, run

Report = dict[str, Any]


def select(reports: dict[str, Report], params: Selection) -> dict[str, Any]:
    """Choose among candidates by their `val` scores, `parameters`, `size_mb` and `latency_ms`.

    The highest validation score wins; of those within `params.tie` of it, the one with fewest
    parameters. Returns what goes to winner.json. Raises UserError if no candidate keeps the
    limits.
    """
    refused = {name: why for name, report in reports.items() if (why := _over(report, params))}
    allowed = {name: report for name, report in reports.items() if name not in refused}
    if not allowed:
        raise UserError(
            "no candidate keeps the limits of selection: "
            + "; ".join(f"{name} {why}" for name, why in refused.items())
        )

    def score(name: str) -> float:
        return float(reports[name]["val"][params.metric])

    best = max(map(score, allowed))
    tied = [name for name in allowed if best - score(name) <= params.tie]
    winner = min(tied, key=lambda name: (reports[name]["parameters"], name))
    against = sorted((name for name in reports if name != winner), key=lambda n: (-score(n), n))
    return {
        "winner": winner,
        "reason": _reason(winner, tied, against, refused, score(winner), reports, params),
        "metric": f"val.{params.metric}",
        "score": score(winner),
        "against": {
            name: {"score": score(name), **({"refused": refused[name]} if name in refused else {})}
            for name in against
        },
    }


def _over(report: Report, params: Selection) -> str:
    """Which limit a candidate breaks, or nothing."""
    if params.max_latency_ms is not None and report["latency_ms"] > params.max_latency_ms:
        return f"takes {report['latency_ms']:g} ms a clip, over {params.max_latency_ms:g}"
    if params.max_size_mb is not None and report["size_mb"] > params.max_size_mb:
        return f"is {report['size_mb']:g} MB, over {params.max_size_mb:g}"
    return ""


def _reason(
    winner: str,
    tied: list[str],
    against: list[str],
    refused: dict[str, str],
    score: float,
    reports: dict[str, Report],
    params: Selection,
) -> str:
    metric = f"validation {params.metric}"
    rivals = [name for name in against if name not in refused]
    others = [name for name in tied if name != winner]
    if others:
        text = (
            f"{winner} wins with {metric} {score:.3f}: within {params.tie:g} of the best it is "
            f"level with {' and '.join(others)}, and the smallest "
            f"({reports[winner]['parameters']:,} parameters)"
        )
    elif rivals:
        runner_up = reports[rivals[0]]["val"][params.metric]
        text = (
            f"{winner} wins with {metric} {score:.3f}, "
            f"{score - runner_up:.3f} ahead of {rivals[0]} ({runner_up:.3f})"
        )
    else:
        text = f"{winner} wins with {metric} {score:.3f}, with no rival"
    return text + "".join(f"; {name} {why}" for name, why in refused.items())


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    missing = [name for name in params.candidates if not workspace.scores(name).exists()]
    if missing:
        raise UserError(f"{missing[0]} is not evaluated: `python -m stages.evaluate {missing[0]}`")
    reports = {name: files.read_json(workspace.scores(name)) for name in params.candidates}
    chosen = select(reports, params.selection)
    files.write_json(workspace.winner, chosen)
    print(f"select: {chosen['reason']}")


if __name__ == "__main__":
    run(main)
