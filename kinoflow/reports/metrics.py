"""Scores of a classifier from its probabilities, with intervals that resample recordings.

In all functions `truth` and `predicted` are the class indices of N clips (N,), `probabilities` are
(N, classes), and `labels` are the names of the classes by index.
"""

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support, roc_auc_score

Labels = NDArray[np.int64]
Probabilities = NDArray[np.float32]


def scores(
    truth: Labels,
    probabilities: Probabilities,
    groups: NDArray,
    *,
    uncalibrated: Probabilities,
    bootstrap: int,
    bins: int,
    seed: int,
) -> dict[str, float]:
    """Scores of a model's predictions for N clips.

    Args:
        truth: (N,) class indices.
        probabilities: (N, classes), calibrated.
        groups: (N,) the recording of each clip.
        uncalibrated: (N, classes), the probabilities before calibration.
        bootstrap: how often the groups are resampled for the interval.
        bins: of confidence, for the calibration error.
        seed: of the resampling.

    Returns accuracy with its 95% interval (accuracy_low, accuracy_high), top5, macro precision,
    recall and f1, auc (macro, each class against the rest), ece (expected calibration error) and
    ece_uncalibrated.
    """
    predicted = probabilities.argmax(axis=1)
    hits = predicted == truth
    low, high = bootstrap_interval(hits, groups, bootstrap, seed)
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth,
        predicted,
        labels=range(probabilities.shape[1]),
        average="macro",
        zero_division=0.0,
    )
    values = {
        "accuracy": hits.mean(),
        "accuracy_low": low,
        "accuracy_high": high,
        "top5": top_k(truth, probabilities, 5),
        "precision": precision,
        "recall": recall,
        "f1": f1,
        "auc": auc(truth, probabilities),
        "ece": calibration_error(truth, probabilities, bins),
        "ece_uncalibrated": calibration_error(truth, uncalibrated, bins),
    }
    return {name: round(float(value), 6) for name, value in values.items()}


def bootstrap_interval(
    hits: NDArray[np.bool_], groups: NDArray, resamples: int, seed: int
) -> tuple[float, float]:
    """The 95% percentile interval of an accuracy, resampling whole groups.

    Clips of one recording tend to be all right or all wrong. To resample single clips would treat
    them as independent, and the interval would be too narrow. See Field and Welsh, "Bootstrapping
    clustered data" (JRSS B, 2007).

    Args:
        hits: (N,) whether each clip is right.
        groups: (N,) the recording of each clip.
        resamples: how often the groups are resampled.
        seed: of the resampling.

    Raises ValueError for a clip without a group.
    """
    if pd.isna(groups).any():
        # pandas would silently leave these clips out
        raise ValueError(f"{pd.isna(groups).sum()} of {len(groups)} clips have no group")
    table = pd.DataFrame({"hits": hits, "group": groups}).groupby("group")["hits"]
    right, size = table.sum().to_numpy(), table.size().to_numpy()
    drawn = np.random.default_rng(seed).integers(0, len(size), (resamples, len(size)))
    means = right[drawn].sum(axis=1) / size[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def top_k(truth: Labels, probabilities: Probabilities, k: int) -> float:
    """The fraction of clips whose true class is among the k most probable."""
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((best == truth[:, None]).any(axis=1).mean())


def auc(truth: Labels, probabilities: Probabilities) -> float:
    """The area under the ROC curve of each class against the rest, averaged over classes.

    Every class must occur in `truth`; the stage split makes sure of that.
    """
    return float(
        np.mean(
            [roc_auc_score(truth == k, probabilities[:, k]) for k in range(probabilities.shape[1])]
        )
    )


def calibration_error(truth: Labels, probabilities: Probabilities, bins: int) -> float:
    """Expected calibration error over `bins` equal bins of confidence.

    Guo et al., "On Calibration of Modern Neural Networks" (ICML 2017).
    """
    table = reliability(truth, probabilities, bins)
    gaps = (table["accuracy"] - table["confidence"]).abs()
    return float((table["clips"] / len(truth) * gaps).sum())


def reliability(truth: Labels, probabilities: Probabilities, bins: int) -> pd.DataFrame:
    """What a reliability diagram draws, a row per bin of confidence that has clips.

    The columns are those of `tables.RELIABILITY` but `calibrated`.
    """
    confidence = probabilities.max(axis=1)
    hits = probabilities.argmax(axis=1) == truth
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    rows = [
        (b / bins, (b + 1) / bins, confidence[inside].mean(), hits[inside].mean(), inside.sum())
        for b in np.unique(which)
        for inside in [which == b]
    ]
    return pd.DataFrame(rows, columns=["low", "high", "confidence", "accuracy", "clips"])


def confusion(truth: Labels, predicted: Labels, classes: int) -> NDArray[np.int64]:
    """Counts (classes, classes): a row per true class, a column per predicted class."""
    return confusion_matrix(truth, predicted, labels=range(classes))


def per_class(truth: Labels, predicted: Labels, labels: tuple[str, ...]) -> pd.DataFrame:
    """The table `tables.PER_CLASS`: precision, recall, F1 and number of clips of each class."""
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, predicted, labels=range(len(labels)), zero_division=0.0
    )
    columns = {"precision": precision, "recall": recall, "f1": f1, "clips": support}
    return pd.DataFrame({"label": labels, **columns}).round(6)


def most_confused(matrix: NDArray[np.int64], labels: tuple[str, ...]) -> pd.DataFrame:
    """The table `tables.MOST_CONFUSED`: how often one class was taken for another, most first.

    `matrix` (classes, classes) is what `confusion` gives. `rate` is the share of the clips of the
    true class.
    """
    pairs = [
        (labels[i], labels[j], int(matrix[i, j]), round(matrix[i, j] / matrix[i].sum(), 6))
        for i, j in np.argwhere(matrix)
        if i != j
    ]
    table = pd.DataFrame(pairs, columns=["label", "taken_for", "clips", "rate"])
    return table.sort_values(
        ["clips", "rate", "label", "taken_for"],
        ascending=[False, False, True, True],
        ignore_index=True,
    )
