"""Make the forms of one candidate, and keep those that nothing has changed for."""

import contextlib
import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from kinoflow import bundle
from kinoflow.bundle import Bundle
from kinoflow.compress import clips, exporting, forms
from kinoflow.compress.aware import aware
from kinoflow.compress.counting import multiply_adds
from kinoflow.compress.exporting import Clips
from kinoflow.compress.forms import Form
from kinoflow.compress.prune import pruned
from kinoflow.compress.quantise import TooCoarseError
from kinoflow.compress.settings import Compress, Recipe
from kinoflow.compress.sparse import sparse
from kinoflow.config import Params
from kinoflow.reports.predictions import predict
from kinoflow.system import files
from kinoflow.system.errors import UserError
from kinoflow.training import kept
from kinoflow.training.fit import TrainingData
from kinoflow.workspace import Workspace

# what a form may cost is judged by its answers to all clips, and not by its conversion
_ANY = exporting.Limits(change=1, agreement=0)


@dataclass(frozen=True)
class About:
    """What is known of a form before it has answered anything."""

    parameters: int
    multiply_adds: int  # for one view of a clip
    note: str = ""  # what was done beyond what the recipe asks for


def _float_layers(form: Form) -> str:
    """How many layers of a form in int8 are not, in words."""
    left = form.details.float_layers
    count = left + form.details.int8_layers
    return f"{left} of {count} layers stay in float" if count else "all layers are in int8"


def about(source: Bundle, note: str = "") -> About:
    """What is known of the bundle that a form is converted from."""
    return About(source.model.count_params(), multiply_adds(source.model), note)


@dataclass(frozen=True)
class Workshop:
    """Makes forms of one candidate, in work/forms/<candidate>/.

    Beside each form lies a record of what it was made by. A form is made again only if its recipe,
    the bundle, the clips, the code or the versions of libraries have changed.
    """

    workspace: Workspace
    params: Params
    settings: Compress
    candidate: str

    @property
    def folder(self) -> Path:
        return self.workspace.forms / self.candidate

    @cached_property
    def original(self) -> Bundle:
        return bundle.load(self.workspace.bundle(self.candidate))

    @cached_property
    def validation(self) -> Clips:
        """Validation clips that a bundle and its form answer."""
        return self._clips("val", clips.COMPARED)

    def make(self, name: str, recipe: Recipe) -> tuple[Form, About]:
        """The form called `name`, made unless it is there and nothing has changed.

        Raises UserError for a library that is not installed, too few clips to fit int8 to, and a
        model that cannot be changed or converted so.
        """
        target, record = self.folder / name, self.folder / f"{name}.json"
        identity = self._identity(recipe)
        files.settle(target)
        found = files.read_json(record) if record.exists() and target.exists() else {}
        if found.get("identity") != identity:
            record.unlink(missing_ok=True)
            shutil.rmtree(target, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix="kinoflow-compress-") as scratch:
                made, about = self._made(recipe, Path(scratch))
                with files.replacing_folder(target) as partial:
                    shutil.copytree(made.folder, partial, dirs_exist_ok=True)
            found = {"identity": identity, "about": asdict(about)}
            files.write_json(record, found)
        return forms.load(target), About(**found["about"])

    @cached_property
    def _data(self) -> TrainingData:
        return TrainingData.of(self.workspace)

    def _identity(self, recipe: Recipe) -> str:
        parts = [
            recipe.model_dump(),
            self.settings.model_dump(include={"margin", "calibration", "fine_tune"}),
            files.folder_md5(self.original.folder),
            self._data.md5,
            kept.code_md5(self.workspace.root, "compress", self.candidate),
            bundle.library_versions(),
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _made(self, recipe: Recipe, scratch: Path) -> tuple[Form, About]:
        run, tuning = self.params.resolve(self.candidate), self.settings.fine_tune
        source = self.original
        if recipe.prune:
            source = pruned(source, run, self._data, recipe.prune, tuning, scratch / "pruned")
        if recipe.sparsity:
            source = sparse(source, run, self._data, recipe.sparsity, tuning, scratch / "sparse")
        if recipe.precision == "int8":
            return self._in_int8(source, recipe, scratch)
        return self._exported(source, recipe, scratch / "form"), about(source)

    def _in_int8(self, source: Bundle, recipe: Recipe, scratch: Path) -> tuple[Form, About]:
        """The form in int8; of a model that was trained for it, where that leaves more in int8."""
        first, rank = None, (0.0, 0)
        with contextlib.suppress(TooCoarseError):
            first = self._exported(source, recipe, scratch / "form")
            rank = self._rank(first)
            lost = self._right(source) - rank[0]
            if not first.details.float_layers and lost <= self.settings.margin:
                return first, about(source)
        run, tuning = self.params.resolve(self.candidate), self.settings.fine_tune
        trained = aware(source, run, self._data, tuning, scratch / "aware")
        try:
            second = self._exported(trained, recipe, scratch / "again")
        except TooCoarseError:
            if first is None:
                raise
            return first, about(source, _float_layers(first))
        if first is None or self._rank(second) > rank:
            note = f"trained with int8 in mind; {_float_layers(second)}"
            return second, about(trained, note)
        return first, about(source, _float_layers(first))

    def _rank(self, form: Form) -> tuple[float, int]:
        """Higher for a form that is right more often, or as often with more layers in int8."""
        return self._right(form), -form.details.float_layers

    def _exported(self, source: Bundle, recipe: Recipe, target: Path) -> Form:
        calibration = judge = None
        if recipe.precision == "int8":
            calibration = self._clips("train", self.settings.calibration)
            judge = clips.judge(self.workspace, source.description)
        return exporting.export(
            source.folder,
            target,
            recipe.format,
            self.validation,
            precision=recipe.precision,
            calibration=calibration,
            judge=judge,
            limits=_ANY if recipe.precision == "int8" else None,
        )

    def _right(self, model: Bundle) -> float:
        """The share of validation clips that a model is right about."""
        side = self._data.val
        assert side is not None
        answers = predict(model, side, f"{self.candidate} in int8")
        return float((answers.argmax(axis=1) == side.labels).mean())

    def _clips(self, side: str, most: int) -> Clips:
        found = clips.of_side(self.workspace, self.original.description, side, most)
        if found is None:
            raise UserError(
                f"{self.candidate} was trained for other classes or clips than those of this "
                "folder: train it again"
            )
        return found
