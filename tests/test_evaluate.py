import re
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest

from kinoflow import bundle
from kinoflow.bundle import Bundle, Description
from kinoflow.config import Candidate, Params
from kinoflow.data import tables
from kinoflow.data.clips import ClipSet
from kinoflow.reports import figures
from kinoflow.reports.records import Metrics
from kinoflow.reports.scoring import Side
from kinoflow.system import files
from kinoflow.training import export
from kinoflow.video import ClipSpec
from stages.evaluate import Part, evaluate, latency_ms, video_seconds_per_s
from tests.networks import build

SPEC = ClipSpec(4, 16, 16)
LABELS = ("jump", "run", "walk")
HISTORY = "epoch,accuracy,loss,val_accuracy,val_loss\n1,0.3,1.1,0.3,1.2\n2,0.5,1.0,0.4,1.1\n"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle") / "frame_voting"
    network = build(Candidate(model="frame_voting"), SPEC, 3)
    description = Description(
        name="frame_voting",
        labels=LABELS,
        clip=SPEC,
        frames=4,
        views=1,
        candidate={},
        seed=0,
        data="",
        versions={},
        metrics={"epoch": 2},
        temperature=0.5,
    )
    export.save(folder, network, description, HISTORY)
    return bundle.load(folder)


def clipset(folder: Path, count: int, seed: int) -> ClipSet:
    drawn = np.random.default_rng(seed).integers(0, 256, (count, *SPEC.shape), dtype=np.uint8)
    videos = tuple(f"{seed}-{number}.avi" for number in range(count))
    for video, clip in zip(videos, drawn, strict=True):
        np.save(folder / f"{video}.npy", clip)
    return ClipSet(folder, videos, np.arange(count) % 3)


def test_the_report_agrees_with_the_model_and_with_itself(
    model: Bundle, defaults: Params, tmp_path: Path
) -> None:
    val, test = (
        Side(clipset(tmp_path, count, seed), np.arange(count) // 3)
        for seed, count in enumerate((6, 9))
    )
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        evaluate(
            model,
            [Part(model, val, test)],
            params=defaults.evaluation,
            seed=7,
            folder=tmp_path / folder,
        )
    assert files.folder_md5(tmp_path / "one") == files.folder_md5(tmp_path / "two")

    report = Metrics.read(tmp_path / "one" / "metrics.json")
    table = pd.read_csv(tmp_path / "one" / "predictions.csv")
    expected = model.predict(test.clips.read(np.arange(9)))
    stored = table[[f"p_{label}" for label in LABELS]].to_numpy(np.float32)
    np.testing.assert_array_equal(stored, expected)
    assert list(table["predicted"]) == [LABELS[k] for k in expected.argmax(axis=1)]
    accuracy = (table["predicted"] == table["label"]).mean()
    assert report.test.accuracy == pytest.approx(accuracy, abs=1e-6)
    assert report.epochs == 2
    assert report.parameters == model.model.count_params()
    pairs = pd.read_csv(tmp_path / "one" / "confusion.csv")
    assert (pairs["actual"] == pairs["predicted"]).mean() == pytest.approx(accuracy)
    assert list(pd.read_csv(tmp_path / "one" / "per_class.csv")["clips"]) == [3, 3, 3]
    assert report.temperature == model.description.temperature
    bins = pd.read_csv(tmp_path / "one" / "reliability.csv")
    for calibrated, error in ((True, report.test.ece), (False, report.test.ece_uncalibrated)):
        rows = bins[bins["calibrated"] == calibrated]
        assert rows["clips"].sum() == 9
        gaps = (rows["accuracy"] - rows["confidence"]).abs()
        assert (gaps * rows["clips"]).sum() / 9 == pytest.approx(error, abs=1e-6)
    assert report.test.ece != report.test.ece_uncalibrated
    time = pd.read_csv(tmp_path / "one" / "time.csv")
    assert list(time["label"]) == list(LABELS)
    assert time["as_is"].mean() == pytest.approx(accuracy, abs=1e-6)  # classes of equal size
    assert report.time is not None
    for name in ("shuffled", "reversed", "frozen"):
        score = getattr(report.time, name)
        assert score.accuracy == pytest.approx(time[name].mean(), abs=1e-6)
        assert score.accuracy_low <= score.accuracy <= score.accuracy_high
    # frames on their own are all that this model sees
    assert report.time.shuffled == report.time.reversed
    wrong = pd.read_csv(tmp_path / "one" / "most_confused.csv")
    assert wrong["clips"].sum() == (table["predicted"] != table["label"]).sum()


def test_without_other_orders_there_is_a_table_without_rows(
    model: Bundle, defaults: Params, tmp_path: Path
) -> None:
    side = Side(clipset(tmp_path, 6, 0), np.arange(6) // 3)
    (tmp_path / "report").mkdir()
    params = defaults.evaluation.model_copy(update={"orders": False})
    parts = [Part(model, side, side)]
    found = evaluate(model, parts, params=params, seed=7, folder=tmp_path / "report")
    assert found.time is None
    assert "time" not in files.read_json(tmp_path / "report" / "metrics.json")
    assert len(tables.read(tmp_path / "report" / "time.csv", tables.TIME)) == 0


def test_with_folds_each_models_answers_to_its_own_clips_are_scored_together(
    model: Bundle, defaults: Params, tmp_path: Path
) -> None:
    unsure = model.description.model_copy(update={"temperature": 4.0})
    models = [model, bundle.Bundle(model.folder, unsure)]
    tests = [Side(clipset(tmp_path, 6, seed), np.arange(6) // 3 + 2 * seed) for seed in range(2)]
    parts = [Part(own, test, test) for own, test in zip(models, tests, strict=True)]
    (tmp_path / "report").mkdir()
    found = evaluate(
        model, parts, params=defaults.evaluation, seed=7, folder=tmp_path / "report", folds=2
    )
    assert found.folds == 2
    assert found.temperature == model.description.temperature
    table = tables.read(tmp_path / "report" / "predictions.csv", tables.PREDICTIONS)
    assert list(table["video"]) == [video for test in tests for video in test.clips.videos]
    rows = np.arange(6)
    expected = [own.predict(test.clips.read(rows)) for own, test in zip(models, tests, strict=True)]
    stored = table[[f"p_{label}" for label in LABELS]].to_numpy(np.float32)
    np.testing.assert_array_equal(stored, np.concatenate(expected))
    assert found.test.accuracy == pytest.approx((table["predicted"] == table["label"]).mean())
    assert found.time is not None
    by_class = tables.read(tmp_path / "report" / "time.csv", tables.TIME)
    assert list(by_class["clips"]) == [4, 4, 4]


def test_learning_curves_mark_the_epoch_that_the_bundle_keeps() -> None:
    # without patience the last epoch is kept, whatever its validation loss
    history = pd.DataFrame(
        {
            "epoch": [1, 2, 3],
            "loss": [3.0, 2.0, 1.0],
            "accuracy": [0.1, 0.2, 0.3],
            "val_loss": [2.0, 1.0, 3.0],
            "val_accuracy": [0.1, 0.3, 0.2],
        }
    )
    for axes in figures.curves(history, kept=3).axes:
        (line,) = (line for line in axes.lines if "kept" in str(line.get_label()))
        assert line.get_label() == "kept: epoch 3"
        assert np.all(line.get_xdata() == np.array([3, 3]))


def test_latency_is_that_of_single_clips(model: Bundle, tmp_path: Path) -> None:
    assert 0.1 < latency_ms(model, clipset(tmp_path, 3, 0), 5) < 5000


def test_footage_a_second_is_of_the_clips_that_were_timed(tmp_path: Path) -> None:
    clips = clipset(tmp_path, 4, 0)
    seconds = pd.Series([9.0, 2.0, 4.0, 9.0], index=list(clips.videos))
    # the first clip pays for compilation, and the two after it are timed
    assert video_seconds_per_s(10.0, clips, seconds, 2) == 300
    seconds[clips.videos[2]] = np.nan
    assert video_seconds_per_s(10.0, clips, seconds, 2) == 200
    seconds[clips.videos[1]] = 0
    assert video_seconds_per_s(10.0, clips, seconds, 2) is None


def test_a_label_is_text_and_no_formula(tmp_path: Path) -> None:
    labels = (r"$\frac{1}{2}$", "a\nb$", r"$\frac{")
    figure = figures.confusion(np.diag([3, 1, 4]), labels)
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # words stay words in the file
        figure.savefig(tmp_path / "a.svg")
    words = re.findall(r"<text[^>]*>([^<]*)</text>", (tmp_path / "a.svg").read_text())
    for shown in (r"$\frac{1}{2}$", "a b$", r"$\frac{"):
        assert words.count(shown) == 2, shown  # beside the rows and below the columns
