"""Students in the pipeline: when `dvc repro` trains them, and that all else takes them in."""

from pathlib import Path

import pytest

from tests.checkout import Checkout
from tests.media import moving_square, write_video
from tests.test_pipeline import CANDIDATES, TINY

SMALL = {"model": "c3d", "frames": 4, "options": {"filters": [4], "units": 4}}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    made = Checkout(tmp_path_factory.mktemp("checkout"))
    made.set(
        **TINY,
        candidates=CANDIDATES,
        students={"small": SMALL | {"teacher": "lrcn"}},
    )
    made.stages = made.repro("select")  # type: ignore[attr-defined]
    return made


def test_a_student_is_trained_after_its_teacher_and_scored_as_all_others(
    checkout: Checkout,
) -> None:
    ran = checkout.stages  # type: ignore[attr-defined]
    assert ran.index("train@lrcn") < ran.index("teach") < ran.index("train_student@small")
    assert ran.index("unlabelled") < ran.index("train_student@small")
    assert {"crossvalidate_student@small", "evaluate_student@small"} <= {*ran}
    known = checkout.read("models/small/bundle.json")
    assert known["teachers"] == checkout.read("work/teachings/small.json")["teachers"]
    assert [*known["teachers"]] == ["lrcn"]
    winner = checkout.read("reports/winner.json")
    assert {winner["winner"], *winner["against"]} == {*CANDIDATES, "small"}
    assert " small " in checkout.run("kinoflow", "results").stdout


def test_it_is_trained_again_with_its_teacher_and_not_with_another_candidate(
    checkout: Checkout,
) -> None:
    options = CANDIDATES["c3d"]["options"]
    checkout.set(candidates__c3d={"model": "c3d", "options": options | {"units": 6}})
    ran = checkout.repro("select", bring=False)
    assert {"train@c3d", "teach", "select"} <= {*ran}
    assert not [stage for stage in ran if "small" in stage]

    before = checkout.read("models/small/bundle.json")["teachers"]["lrcn"]
    options = CANDIDATES["lrcn"]["options"]
    checkout.set(candidates__lrcn={"model": "lrcn", "options": options | {"units": 8}})
    ran = checkout.repro("select", bring=False)
    assert "train@c3d" not in ran
    assert ran.index("train@lrcn") < ran.index("train_student@small")
    assert checkout.read("models/small/bundle.json")["teachers"]["lrcn"] != before


def test_it_learns_from_the_mean_of_several_and_from_footage_without_labels(
    checkout: Checkout,
) -> None:
    write_video(checkout.folder / "unlabelled" / "square.avi", moving_square(12))
    checkout.set(students__small=SMALL | {"teacher": ["lrcn", "c3d"]})
    ran = checkout.repro("evaluate_student@small", bring=False)
    assert {"unlabelled", "teach", "train_student@small"} <= {*ran}
    assert not {"train@lrcn", "train@c3d"} & {*ran}
    assert [*checkout.read("models/small/bundle.json")["teachers"]] == ["lrcn", "c3d"]
    # the footage is not in git
    assert "square.avi" not in checkout.run("git", "status", "--porcelain").stdout
    (checkout.folder / "unlabelled" / "square.avi").unlink()
    ran = checkout.repro("evaluate_student@small", bring=False)
    assert {"unlabelled", "train_student@small"} <= {*ran}


def test_with_folds_a_student_learns_in_each_from_who_was_trained_on_it(
    checkout: Checkout,
) -> None:
    checkout.set(
        split__method="group_kfold", split__folds=2, students__small=SMALL | {"teacher": "lrcn"}
    )
    checkout.repro("evaluate_student@small", bring=False)
    folds = checkout.read("work/teachings/small.json")["folds"]
    assert {*folds} == {"1", "2"}
    for fold, teachers in folds.items():
        known = checkout.read(f"work/folds/small/{fold}/bundle.json")
        assert known["teachers"] == teachers
        assert Path(checkout.folder / "work" / "folds" / "lrcn" / fold).is_dir()
