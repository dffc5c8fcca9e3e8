"""Explain answers of the winner, show them as films, and check that they can be believed."""

from pathlib import Path

import numpy as np
import pandas as pd

from kinoflow import bundle, config
from kinoflow.bundle import Bundle
from kinoflow.data import clips, tables
from kinoflow.data.clips import ClipStore
from kinoflow.explain import film
from kinoflow.explain.methods import Explainer, Explanation
from kinoflow.explain.tracing import make_deterministic
from kinoflow.reports.records import Proofs, Winner
from kinoflow.system import files
from kinoflow.system.terminal import progress
from kinoflow.workspace import Workspace, run
from stages.explain_choice import choose
from stages.explain_proofs import Explained, prove


def explain_chosen(
    workspace: Workspace, explainer: Explainer, chosen: pd.DataFrame, folder: Path
) -> dict[str, Explanation]:
    """Explain the answers to clips, and write a film of each and the table of them to `folder`.

    Args:
        workspace: the work tree, with the videos and the clip store.
        explainer: of the winner.
        chosen: rows of clips as `explain_choice.choose` gives them; a clip may be in several.
        folder: an empty folder.

    Returns the explanation of each video's clip.
    """
    store = ClipStore(workspace.clips)
    rows = tables.read(workspace.catalog, tables.CATALOG).to_dict("records")
    catalog = {row["video"]: row for row in rows}
    labels = explainer.model.labels
    found: dict[str, Explanation] = {}
    names: dict[str, str] = {}
    predicted = dict(zip(chosen["video"], chosen["predicted"], strict=True))
    for video, label in progress(list(predicted.items()), "explain"):
        found[video] = explainer.explain(store.read(video), labels.index(label))
        names[video] = f"{len(names) + 1:02d}.mp4"
        facts = catalog[video]
        frames = film.readable(
            workspace.data / video,
            explainer.model.clip,
            width=int(facts["width"]),
            height=int(facts["height"]),
        )
        rate = film.rate(len(frames), float(facts["seconds"]))
        film.write_film(folder / names[video], film.film(frames, found[video]), rate)
    table = chosen.assign(
        file=chosen["video"].map(names),
        method=explainer.method,
        **{
            f"s{number + 1}": [float(found[video].segments[number]) for video in chosen["video"]]
            for number in range(8)
        },
    )
    tables.write(table, folder / "clips.csv", tables.EXPLAINED)
    return found


def _of_proofs(
    workspace: Workspace, model: Bundle, answers: pd.DataFrame, count: int
) -> list[Explained]:
    """Clips to check explanations on: one of each recording in turn, at most `count`."""
    groups = clips.split_table(workspace).set_index("video")["group"]
    table = answers.assign(group=groups[answers["video"]].to_numpy())
    turn = table.groupby("group").cumcount()
    table = table.iloc[np.argsort(turn.to_numpy(), kind="stable")][:count]
    store = ClipStore(workspace.clips)
    return [
        Explained(video, group, store.read(video), model.labels.index(predicted))
        for video, group, predicted in zip(
            table["video"], table["group"], table["predicted"], strict=True
        )
    ]


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    make_deterministic()
    name = Winner.read(workspace.winner).winner
    model = bundle.load(workspace.bundle(name))
    # of this bundle: with folds, predictions.csv holds the answers of others
    answers = tables.read(workspace.answers(name), tables.PREDICTIONS)
    method = params.explain.method
    explainer = Explainer(model, None if method == "auto" else method)
    chosen = choose(answers, params.explain)
    with files.replacing_folder(workspace.explanations) as folder:
        found = explain_chosen(workspace, explainer, chosen, folder)
        groups = clips.split_table(workspace).set_index("video")["group"]
        proofs = prove(
            explainer,
            winner=name,
            checked=_of_proofs(workspace, model, answers, params.explain.proof_clips),
            explained=[(str(groups[video]), each) for video, each in found.items()],
            truth=workspace.truth,
            bootstrap=params.evaluation.bootstrap,
            seed=params.seed,
            folder=folder,
        )
        proofs.write(folder / "proofs.json")
    print(f"explain: {len(found)} answers of {name} by {explainer.method}; {_summary(proofs)}")


def _summary(proofs: Proofs) -> str:
    """What was found out about the explanations, in a line."""
    fall = proofs.space.falls_faster
    said = f"deletion beats random order by {fall.mean:.3f} ({fall.low:.3f} to {fall.high:.3f})"
    if proofs.pointing is None:
        return said
    point = proofs.pointing
    return f"{point.share:.0%} of the evidence on the actor, who fills {point.area:.0%}; {said}"


if __name__ == "__main__":
    run(main)
