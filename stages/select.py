"""Choose the winner by its validation score, within the limits; test scores are not read."""

from collections.abc import Collection
from dataclasses import dataclass

from kinoflow import config
from kinoflow.compress import settings
from kinoflow.compress.settings import WINNER
from kinoflow.config import Params, Selection
from kinoflow.reports.records import CandidateScores, Rival, Winner
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace, run


def select(
    candidates: dict[str, CandidateScores], params: Selection, shrinking: Collection[str] = ()
) -> Winner:
    """Choose the candidate with the highest validation score.

    Of candidates within `params.tie` of that score, the one with the fewest parameters wins.

    Args:
        candidates: the scores of each candidate, by its name.
        params: the section `selection` of params.yaml.
        shrinking: candidates that the limits do not refuse, because forms of them are made: then
            the form that is packaged has to keep the limits.

    Raises UserError if every candidate breaks a limit.
    """
    refused = {
        name: limit
        for name, scores in candidates.items()
        if name not in shrinking and (limit := _broken(scores, params))
    }
    allowed = {name: scores for name, scores in candidates.items() if name not in refused}
    if not allowed:
        raise UserError(
            "no candidate keeps the limits of selection: "
            + "; ".join(f"{name} {limit}" for name, limit in refused.items())
        )
    score = {name: float(getattr(found.val, params.metric)) for name, found in candidates.items()}
    best = max(score[name] for name in allowed)
    tied = [name for name in allowed if best - score[name] <= params.tie]
    winner = min(tied, key=lambda name: (allowed[name].parameters, name))
    others = sorted(
        (name for name in score if name != winner), key=lambda name: (-score[name], name)
    )
    choice = _Choice(
        winner=winner,
        tied=[name for name in tied if name != winner],
        runner_up=next((name for name in others if name in allowed), None),
        score=score,
    )
    return Winner(
        winner=winner,
        reason="; ".join(
            [
                _reason(choice, candidates[winner].parameters, params),
                *(f"{name} {limit}" for name, limit in refused.items()),
            ]
        ),
        metric=f"val.{params.metric}",
        score=score[winner],
        against={name: Rival(score=score[name], refused=refused.get(name)) for name in others},
    )


@dataclass(frozen=True)
class _Choice:
    winner: str
    tied: list[str]  # with the winner
    runner_up: str | None  # the best of the others that keep the limits
    score: dict[str, float]  # by candidate


def _broken(scores: CandidateScores, params: Selection) -> str:
    """Which limit a candidate breaks, in words; "" if it keeps both."""
    if params.max_latency_ms is not None and scores.latency_ms > params.max_latency_ms:
        return f"takes {scores.latency_ms:g} ms a clip, over {params.max_latency_ms:g}"
    if params.max_size_mb is not None and scores.size_mb > params.max_size_mb:
        return f"is {scores.size_mb:g} MB, over {params.max_size_mb:g}"
    return ""


def _reason(choice: _Choice, parameters: int, params: Selection) -> str:
    score = choice.score[choice.winner]
    won = f"{choice.winner} wins with validation {params.metric} {score:.3f}"
    if choice.tied:
        return (
            f"{won}: within {params.tie:g} of the best it is level with "
            f"{' and '.join(choice.tied)}, and the smallest ({parameters:,} parameters)"
        )
    if choice.runner_up is None:
        return f"{won}, with no rival"
    second = choice.score[choice.runner_up]
    return f"{won}, {score - second:.3f} ahead of {choice.runner_up} ({second:.3f})"


def shrinking(params: Params, workspace: Workspace) -> Collection[str]:
    """The candidates of which a smaller or faster form may be packaged."""
    wanted = settings.of(params.compress, workspace.params)
    if not wanted.enabled or wanted.choose == "none":
        return ()
    return params.candidates.keys() if WINNER in wanted.candidates else wanted.candidates


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    missing = [name for name in params.candidates if not workspace.scores(name).exists()]
    if missing:
        raise UserError(f"{missing[0]} is not evaluated: `python -m stages.evaluate {missing[0]}`")
    candidates = {name: CandidateScores.read(workspace.scores(name)) for name in params.candidates}
    winner = select(candidates, params.selection, shrinking(params, workspace))
    winner.write(workspace.winner)
    print(f"select: {winner.reason}")


if __name__ == "__main__":
    run(main)
