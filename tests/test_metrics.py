import numpy as np
import pytest

from kinoflow.reports import metrics


def one_hot(predicted: list[int], confidence: float = 1.0, classes: int = 3) -> np.ndarray:
    rest = (1 - confidence) / (classes - 1)
    table = np.full((len(predicted), classes), rest, np.float32)
    table[np.arange(len(predicted)), predicted] = confidence
    return table


def test_scores_of_a_perfect_and_of_a_mixed_classifier() -> None:
    truth = np.array([0, 0, 1, 1, 2, 2])
    groups = np.arange(6)
    right = [0, 0, 1, 1, 2, 2]
    perfect = metrics.scores(
        truth,
        one_hot(right),
        groups,
        uncalibrated=one_hot(right, confidence=0.8),
        bootstrap=50,
        bins=10,
        seed=0,
    )
    assert perfect["accuracy"] == perfect["accuracy_low"] == perfect["accuracy_high"] == 1
    assert perfect["f1"] == perfect["auc"] == perfect["top5"] == 1
    assert perfect["ece"] == 0
    assert perfect["ece_uncalibrated"] == pytest.approx(0.2, abs=1e-6)

    answers = one_hot([0, 1, 1, 1, 2, 0])
    mixed = metrics.scores(
        truth, answers, groups, uncalibrated=answers, bootstrap=500, bins=10, seed=0
    )
    assert mixed["accuracy"] == pytest.approx(4 / 6, abs=1e-6)
    # per class: precision 1/2, 2/3, 1; recall 1/2, 1, 1/2
    assert mixed["precision"] == pytest.approx((1 / 2 + 2 / 3 + 1) / 3, abs=1e-6)
    assert mixed["recall"] == pytest.approx((1 / 2 + 1 + 1 / 2) / 3, abs=1e-6)
    assert mixed["f1"] == pytest.approx((1 / 2 + 4 / 5 + 2 / 3) / 3, abs=1e-6)
    assert 0 <= mixed["accuracy_low"] < 4 / 6 < mixed["accuracy_high"] <= 1


def test_the_interval_is_as_wide_as_recordings_are_few() -> None:
    hits = np.repeat(np.arange(20) % 2 == 0, 10)
    alone = metrics.bootstrap_interval(hits, np.arange(200), 1000, 0)
    together = metrics.bootstrap_interval(hits, np.repeat(np.arange(20), 10), 1000, 0)
    assert together[1] - together[0] > 2.5 * (alone[1] - alone[0])
    # of 200 independent coins: 0.5 +- 1.96 * sqrt(0.25 / 200)
    assert alone == pytest.approx((0.431, 0.569), abs=0.01)


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    truth = np.zeros(10, int)
    answers = one_hot([0] * 6 + [1] * 4, confidence=0.9)
    assert metrics.calibration_error(truth, answers, 15) == pytest.approx(0.3, abs=1e-6)


def test_a_row_of_the_reliability_diagram_is_a_bin_of_confidence() -> None:
    truth = np.array([0, 0, 0, 0, 1])
    answers = np.concatenate([one_hot([0, 1], confidence=0.5), one_hot([0, 0, 0], confidence=0.9)])
    table = metrics.reliability(truth, answers, 10)
    assert table.round(6).to_numpy().tolist() == [
        [0.4, 0.5, 0.5, 0.5, 2],
        pytest.approx([0.8, 0.9, 0.9, 2 / 3, 3], abs=1e-6),
    ]


def test_top_k_and_auc() -> None:
    truth = np.array([0, 1, 2, 3])
    answers = np.array([[0.4, 0.3, 0.2, 0.1]] * 4, np.float32)
    assert [metrics.top_k(truth, answers, k) for k in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1]
    assert metrics.auc(truth, answers) == 0.5


def test_confusion_and_what_is_confused_most() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([1, 1, 0, 2, 1, 2])
    matrix = metrics.confusion(truth, predicted, 3)
    assert matrix.tolist() == [[1, 2, 0], [0, 1, 1], [0, 0, 1]]
    pairs = metrics.most_confused(matrix, ("run", "walk", "jump"))
    assert pairs.values.tolist() == [
        ["run", "walk", 2, pytest.approx(2 / 3, abs=1e-6)],
        ["walk", "jump", 1, 0.5],
    ]
    table = metrics.per_class(truth, predicted, ("run", "walk", "jump"))
    assert list(table["clips"]) == [3, 2, 1]
    assert list(table["recall"]) == [pytest.approx(1 / 3, abs=1e-6), 0.5, 1]
