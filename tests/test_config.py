import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from kinoflow import config
from kinoflow.config import Params
from kinoflow.system.errors import UserError
from tests.conftest import ROOT, params_text

TEXT = params_text()


def load(tmp_path: Path, old: str, new: str) -> Params:
    assert old in TEXT
    path = tmp_path / "params.yaml"
    path.write_text(TEXT.replace(old, new, 1))
    return config.load(path)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("  frames: 32", "  frames: -3", "frames must be at least 1, got -3"),
        ("sampling: uniform", "sampling: random", "clip.sampling: .*'segment' or 'motion'"),
        ("padding: repeat", "padding: black", "clip.padding: .*'mask'"),
        ("  sampling: uni", "  smapling: uni", "unknown key clip.smapling: did you mean sampling"),
        ("  frames: 32", "  frmes: 32", "unknown key clip.frmes: did you mean frames?"),
        ("seed: 7", "sede: 7", "unknown key sede: did you mean seed?"),
        ("seed: 7", "seed: seven", "seed: .*'seven'"),
        ("source: synthetic", "source: youtube", "dataset.source: .*'youtube'"),
        ("source: synthetic", "source: folder", "needs a path"),
        (
            "model: lrcn",
            "model: lrcnn",
            "no model 'lrcnn'; there are c3d, cnn_lstm, .*did you mean lrcn[?]",
        ),
        ("lrcn\n    frames: 16", "lrcn\n    frames: 33", "candidates.lrcn.frames is 33.*hold 32"),
        ("model: lrcn", "model: lrcn\n    training: {epoch: 3}", "did you mean epochs?"),
        ("model: lrcn", "model: lrcn\n    augment: {flipp: 1}", "lrcn.augment.flipp: did you"),
        ("  lrcn:", "  validation:", "candidates.validation: this name is taken"),
        ("  lrcn:", "  monitor:", "candidates.monitor: this name is taken"),
        ("  val: 0.2", "  val: 0.9", "leave nothing to train on"),
        ("  folds: 5", "  folds: 1", "split.folds: .*greater than or equal to 2"),
        ("model: lrcn", "model: lrcn\n    training: {refit: true}", "set training.refit instead"),
        ('"0 3 * * *"', '"3 * *"', "five fields"),
        ("method: stratified_group", "method: random", "split: method random leaks.*to warn as"),
        ("seed: 7", "seed: [", r"params.yaml, line \d+: not valid YAML"),
        ("seed: 7", "seed: 7\nseed: 8", "found duplicate key"),
    ],
)
def test_a_bad_value_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        load(tmp_path, old, new)


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="root of the repository"):
        config.load(tmp_path / "params.yaml")


def test_own_footage_takes_two_keys(tmp_path: Path) -> None:
    start, end = TEXT.index("dataset:"), TEXT.index("catalog:")
    path = tmp_path / "params.yaml"
    path.write_text(TEXT[:start] + "dataset: {source: folder, path: videos}\n" + TEXT[end:])
    assert config.load(path).dataset.path == "videos"


def test_a_candidate_overrides_training(tmp_path: Path) -> None:
    loaded = load(tmp_path, "model: lrcn", "model: lrcn\n    training: {epochs: 3}")
    assert loaded.resolve("lrcn").training.epochs == 3
    assert loaded.resolve("lrcn").training.batch_size == loaded.training.batch_size


def test_a_candidate_overrides_augmentation(tmp_path: Path) -> None:
    loaded = load(tmp_path, "model: lrcn", "model: lrcn\n    augment: {mixup: 0.4}")
    assert loaded.resolve("lrcn").augment.mixup == 0.4
    assert loaded.resolve("lrcn").augment.shift == loaded.augment.shift
    assert loaded.resolve("convlstm").augment.mixup == 0


@pytest.mark.parametrize("training", ["flip: false", "flip: true, flip_except: [Left, Right]"])
def test_answers_to_mirrored_clips_are_averaged_only_where_all_were_trained_on(
    tmp_path: Path, training: str
) -> None:
    mirrored = TEXT.replace("flip: false  ", "flip: true  ")
    assert mirrored != TEXT
    path = tmp_path / "params.yaml"
    path.write_text(mirrored)
    assert config.load(path).evaluation.flip
    path.write_text(mirrored.replace("model: lrcn", f"model: lrcn\n    augment: {{{training}}}"))
    with pytest.raises(
        UserError, match=r"evaluation.flip averages.*candidate lrcn.*set evaluation.flip to false"
    ):
        config.load(path)


def test_a_run_is_a_candidate_with_what_it_shares_with_the_others(tmp_path: Path) -> None:
    loaded = load(tmp_path, "model: lrcn", "model: lrcn\n    options: {units: 8}")
    run = loaded.resolve("lrcn")
    assert run.candidate == loaded.candidates["lrcn"]
    assert run.candidate.options == {"units": 8}
    assert run.clip == loaded.clip
    assert run.seed == loaded.seed
    assert (run.views, run.flip) == (loaded.evaluation.views, loaded.evaluation.flip)


def test_an_unknown_candidate_is_named(defaults: Params) -> None:
    with pytest.raises(UserError, match="no candidate 'lrnc' in params.yaml; there are .*lrcn"):
        defaults.resolve("lrnc")


def test_reading_params_loads_nothing_heavy() -> None:
    # the service checks its settings by this module, and `--help` should be quick
    code = (
        "import sys; from kinoflow.config import Serving; "
        "print({*sys.modules} & {'keras', 'tensorflow', 'pandas', 'dask', 'cv2', 'av', 'sklearn'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == "set()"


def test_candidates_know_how_the_clips_were_sampled(tmp_path: Path) -> None:
    loaded = load(tmp_path, "padding: repeat", "padding: mask")
    assert loaded.resolve("convlstm").model_clip.padding == "mask"
    assert loaded.resolve("lrcn").model_clip == replace(loaded.clip, frames=16)


def test_every_value_is_explained() -> None:
    values = [line for line in TEXT.splitlines() if ": " in line and not line.startswith("#")]
    candidates = TEXT[TEXT.index("candidates:") : TEXT.index("evaluation:")].splitlines()
    unexplained = [line for line in values if "#" not in line and line not in candidates]
    assert unexplained == []
