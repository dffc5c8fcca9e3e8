"""Note who teaches each student, so that a student is trained again only if its teachers changed.

dvc.yaml cannot say that a student depends on the candidates that its line `teacher` names. So all
students wait for all candidates that are no students, and each training of a student depends on a
list made here: its teachers, with the MD5 of their bundles.
"""

from kinoflow import config
from kinoflow.config import WINNER, Params
from kinoflow.reports.records import CandidateScores
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace, run


def teachers(workspace: Workspace, params: Params, student: str) -> list[str]:
    """The names of a student's teachers; `winner` stands for the best of the candidates.

    Raises UserError if a candidate is not trained yet, or not evaluated if the best is to teach.
    """
    others = [name for name in params.candidates if name not in params.students]
    names = list(params.students[student].teacher)
    if WINNER in names and WINNER not in others:
        for name in others:
            if not workspace.teacher_scores(name).exists():
                raise UserError(f"{name} is not evaluated: `python -m stages.evaluate {name}`")
        names[names.index(WINNER)] = best(workspace, others, params.selection.metric)
    names = list(dict.fromkeys(names))
    for name in names:
        if not workspace.trained(name).exists():
            raise UserError(f"{student} is to learn from {name}, which is not trained yet")
    return names


def best(workspace: Workspace, names: list[str], metric: str) -> str:
    """The candidate with the highest validation score, of equal ones the smallest.

    The limits of `selection` are for what is served, and not for a teacher.
    """
    scores = {name: CandidateScores.read(workspace.teacher_scores(name)) for name in names}
    return min(
        names,
        key=lambda name: (-getattr(scores[name].val, metric), scores[name].parameters, name),
    )


def teaching(workspace: Workspace, names: list[str]) -> dict[str, object]:
    """What `kinoflow.training.lessons.Teaching` says of teachers of these names."""
    folds: dict[str, dict[str, str]] = {}
    for name in names:
        for fold, md5 in files.read_json(workspace.trained_on_folds(name)).items():
            folds.setdefault(fold, {})[name] = md5
    bundles = {name: files.read_json(workspace.trained(name))["bundle"] for name in names}
    return {"teachers": bundles, "folds": folds}


def main(workspace: Workspace) -> None:
    params = config.load(workspace.params)
    with files.replacing_folder(workspace.teachings) as folder:
        for student in params.students:
            names = teachers(workspace, params, student)
            files.write_json(folder / f"{student}.json", teaching(workspace, names))
            print(f"teach: {student} learns from {' and '.join(names)}")
    if not params.students:
        print("teach: there are no students")


if __name__ == "__main__":
    run(main)
