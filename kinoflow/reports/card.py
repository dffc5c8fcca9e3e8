"""The model card in a Bento: what its model is, how good it is, and where it comes from."""

from kinoflow.reports.records import Accuracy, Document, Scores
from kinoflow.video.spec import ClipSpec


class Card(Document):
    """card.json in a Bento."""

    stage = "package"

    candidate: str  # its name
    labels: tuple[str, ...]  # in the order of the model's outputs
    clip: ClipSpec  # how a video is sampled
    clip_seconds: float | None = None  # median length of the videos trained on; None: none says
    temperature: float  # that probabilities are calibrated with
    trained_on: tuple[str, ...]  # sides of the split
    # Scores as evaluation recorded them. A model that was trained once more, on its validation
    # clips as well, has none on val, and on test those of the stage refit.
    val: Scores | None = None
    test: Scores | None = None
    folds: int | None = None  # that the scores come from; None: from the split
    teachers: tuple[str, ...] | None = None  # candidates whose answers it learned; None: of none
    # The scores above are those of the bundle. If a form of it is served, these say which.
    form: str | None = None  # its name; None: the bundle itself is served
    format: str | None = None  # openvino, onnx or another of `kinoflow.compress.formats`
    precision: str | None = None  # float32, float16, bfloat16 or int8
    form_test: Accuracy | None = None  # what the form itself scores on test clips, where known
    seed: int
    data: str  # MD5 over the clips trained on and their labels
    versions: dict[str, str]  # of the libraries that it was trained with
    commit: str | None = None  # of git, when it was packaged; None outside of a repository
    # whether files that git tracks differed from that commit; the pipeline's own dvc.lock may
    changed: bool | None = None
