"""Every path of the work tree, relative to the repository's root, where all commands run."""

from pathlib import Path

PARAMS = Path("params.yaml")

# the videos, pinned by data.dvc
DATA = Path("data")
DATA_DVC = Path("data.dvc")
DOWNLOADS = Path(".downloads")  # archives on their way, and what they unpacked to
LABELS = DATA / "labels.csv"
LISTS = DATA / ".lists"  # published split lists; hidden, so that it is no class

# held by the run that brings or makes something; see kinoflow.locks
LOCKS = Path(".locks")

# tables and clips on their way to training
WORK = Path("work")
DOWNLOADED = WORK / "downloaded.json"
CATALOG = WORK / "catalog.csv"
SPLIT = WORK / "split.csv"
CLIPS = WORK / "clips"
CLIPS_TABLE = WORK / "clips.csv"
DUPLICATES = WORK / "duplicates.csv"
VALIDATION = WORK / "validation.json"
CHECKPOINTS = WORK / "checkpoints"
TRAINING = WORK / "training"
SCORES = WORK / "scores"

# what comes out
MODELS = Path("models")
REPORTS = Path("reports")
EXPLORATION = REPORTS / "explore"
VALIDATION_SITE = REPORTS / "validation"
LEAKS = REPORTS / "leaks.csv"
LEAKS_NUMBERS = REPORTS / "leaks.json"
LEAKS_PAGE = REPORTS / "leaks.html"
WINNER = REPORTS / "winner.json"
DIST = Path("dist")


def bundle(candidate: str) -> Path:
    """The trained model of one candidate."""
    return MODELS / candidate


def training(candidate: str) -> Path:
    """Curves and wall-clock of one candidate's training."""
    return TRAINING / candidate


def report(candidate: str) -> Path:
    """The evaluation of one candidate."""
    return REPORTS / candidate


def scores(candidate: str) -> Path:
    """What selection may know of one candidate: no test scores."""
    return SCORES / f"{candidate}.json"
