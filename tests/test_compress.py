"""Forms of a bundle: they answer as it does, each in its runtime, or are refused with a reason."""

import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kinoflow import bundle
from kinoflow.bundle import Bundle
from kinoflow.compress import batches, clips, convert, exporting, formats, forms
from kinoflow.compress.exporting import Clips
from kinoflow.explain.methods import Explainer
from kinoflow.models.registry import MODULES
from kinoflow.monitor import features
from kinoflow.system.errors import UserError
from kinoflow.video import ClipSpec, sample
from kinoflow.workspace import Workspace
from tests.conftest import ROOT
from tests.media import moving_square, write_video
from tests.networks import (
    CLIP,
    noise,
    save_bundle,
    sure_model,
)
from tests.test_cli import call

PAGE = ROOT / "benchmarks" / "exporting.md"
# one network for each thing that is rebuilt, or that formats are known to stumble over
SHORT = {
    "c3d": ("keras", "openvino", "onnx", "litert"),
    "frame_voting": ("onnx",),
    "lrcn": ("litert",),
    "movinet": ("onnx",),
    "timesformer": ("onnx",),
}


def saved(folder: Path, name: str, **options: Any) -> Path:
    save_bundle(folder / name, sure_model(name, small=True, **options), CLIP)
    return folder / name


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bundles")


@pytest.fixture(scope="module")
def c3d(bundles: Path) -> Path:
    """A bundle that averages views and mirrored views, and is calibrated."""
    folder = bundles / "viewed"
    taken = replace(CLIP, frames=4)
    save_bundle(folder, sure_model("c3d", taken, small=True), taken, views=2, flip=True)
    description = bundle.Description.read(folder).model_copy(update={"temperature": 2.0})
    description.write(folder)
    return folder


@pytest.fixture(scope="module")
def forms_of_c3d(c3d: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, forms.Form]:
    folder = tmp_path_factory.mktemp("forms")
    return {
        name: exporting.export(c3d, folder / name, name, Clips(noise(4), "noise"))
        for name in SHORT["c3d"]
    }


# === Forms ===


@pytest.mark.parametrize("name", SHORT["c3d"])
def test_a_form_answers_as_its_bundle_with_views_mirrors_and_temperature(
    name: str, forms_of_c3d: dict[str, forms.Form], c3d: Path
) -> None:
    form, whole = forms_of_c3d[name], bundle.load(c3d)
    assert form.labels == whole.labels
    # other clips than those that they were compared on
    shown = np.ascontiguousarray(noise(4)[::-1, ::-1, ::-1])
    # what `sure_model` multiplies the last layer by, about 155, it multiplies rounding by as well
    np.testing.assert_allclose(form.predict(shown), whole.predict(shown), atol=1e-4)
    assert form.details.largest_change < 1e-4
    assert form.details.agreement == 1
    assert form.details.bytes > 1000
    assert {*form.details.versions} > {"kinoflow", "keras"}


@pytest.mark.parametrize(("views", "batch"), [(1, 1), (3, 3), (8, 8), (9, 3), (11, 1), (20, 5)])
def test_a_batch_divides_the_views_of_a_clip(views: int, batch: int) -> None:
    assert batches.size(views) == batch


def test_a_model_that_takes_every_frame_is_asked_once(tmp_path: Path) -> None:
    save_bundle(tmp_path / "b", sure_model("lrcn", small=True), CLIP, views=3)
    shown = Clips(noise(2), "noise")
    form = exporting.export(tmp_path / "b", tmp_path / "f", "openvino", shown)
    assert form.details.batch == len(form.views(noise(1)[0])) == 1


def test_a_form_answers_any_number_of_views(forms_of_c3d: dict[str, forms.Form]) -> None:
    form = forms_of_c3d["openvino"]
    views = np.concatenate([form.views(clip) for clip in noise(2)])
    assert form.details.batch == 4
    every = form.forward(views)
    for count in (1, 3, 5, 8):
        np.testing.assert_allclose(form.forward(views[:count]), every[:count], atol=1e-6)


# TensorFlow takes no other number of threads once it has computed
@pytest.mark.parametrize("name", [name for name in SHORT["c3d"] if name != "keras"])
def test_views_are_answered_alike_side_by_side_and_one_after_the_other(
    name: str, forms_of_c3d: dict[str, forms.Form]
) -> None:
    folder = forms_of_c3d[name].folder
    alone = forms.load(folder, threads=1).predict(noise(4))
    for threads in (2, 3):
        together = forms.load(folder, threads=threads).predict(noise(4))
        np.testing.assert_allclose(together, alone, atol=1e-6)


# not keras: TensorFlow's threads are set before its first use in a process
@pytest.mark.parametrize("name", ["openvino", "onnx", "litert"])
@pytest.mark.parametrize(("threads", "calls"), [(1, 1), (4, 2)])
def test_many_threads_may_ask_a_form(
    name: str, threads: int, calls: int, forms_of_c3d: dict[str, forms.Form]
) -> None:
    alone = forms_of_c3d[name]
    shared = forms.load(alone.folder, threads=threads, calls=calls)
    shown = noise(24)
    with ThreadPoolExecutor(4) as pool:
        asked = [*pool.map(lambda clip: shared.predict(clip[None])[0], shown)]
    np.testing.assert_allclose(np.stack(asked), alone.predict(shown), atol=1e-6)


def test_a_form_is_explained_by_its_answers_alone(forms_of_c3d: dict[str, forms.Form]) -> None:
    form = forms_of_c3d["openvino"]
    assert Explainer(form).method == "occlusion"
    with pytest.raises(UserError) as problem:
        Explainer(form, "gradcam")
    assert str(problem.value) == (
        "gradcam looks into the network, and an exported model shows its answers alone: choose "
        "occlusion, or explain the bundle"
    )
    answers, found = features.forward(form)(form.views(noise(1)[0]))
    assert (len(answers), found.shape) == (4, (4, 0))


def test_a_form_is_a_bundle_to_those_who_ask_for_answers_only(
    forms_of_c3d: dict[str, forms.Form], c3d: Path
) -> None:
    form = forms.load_any(forms_of_c3d["onnx"].folder)
    assert isinstance(form, forms.Form)
    assert isinstance(forms.load_any(c3d), Bundle)
    with pytest.raises(UserError, match="holds a model for onnx: this takes the bundle that"):
        _ = form.model


def test_a_signal_after_forms_have_come_and_gone_ends_nothing(
    forms_of_c3d: dict[str, forms.Form],
) -> None:
    """It did on processors with AMX: see `core` of `kinoflow.compress.runner.runtime_openvino`."""
    code = (
        "import os, signal, sys\n"
        "import numpy as np\n"
        "from kinoflow.compress import forms\n"
        "loaded = [forms.load(sys.argv[1]) for _ in range(2)]\n"
        "for form in loaded:\n"
        "    form.predict(np.zeros((1, *form.clip.shape), np.uint8))\n"
        "del form\n"
        "while loaded:\n"
        "    del loaded[0]\n"
        "signal.signal(signal.SIGUSR1, lambda *_: print('handled'))\n"
        "os.kill(os.getpid(), signal.SIGUSR1)"
    )
    folder = str(forms_of_c3d["openvino"].folder)
    done = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


@pytest.mark.parametrize("name", ["openvino", "onnx", "litert"])
def test_a_form_answers_without_tensorflow(name: str, forms_of_c3d: dict[str, forms.Form]) -> None:
    code = (
        "import sys, numpy as np; from kinoflow.compress import forms\n"
        f"form = forms.load({str(forms_of_c3d[name].folder)!r}, threads=1)\n"
        "print(form.predict(np.zeros((1, *form.clip.shape), np.uint8)).shape)\n"
        "print({'tensorflow', 'keras', 'openvino_telemetry.main'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["(1, 5)", "set()"]


# what made converters fail: the random numbers of dropout, and how Keras finds a maximum
WITH: dict[str, dict[str, Any]] = {
    "convlstm": {"recurrent_dropout": 0.2},
    "frame_voting": {"vote": "mode"},
}


@pytest.mark.parametrize("name", [name for name in SHORT if name != "c3d"])
def test_formats_take_what_the_table_says(name: str, bundles: Path, tmp_path: Path) -> None:
    _agrees_with_the_table(name, SHORT[name], bundles, tmp_path)


def test_every_format_takes_what_the_table_says(
    bundles: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not request.config.getoption("--soak"):
        pytest.skip("`make soak` exports every architecture to every format")
    for name in MODULES:
        _agrees_with_the_table(name, tuple(formats.FORMATS), bundles, tmp_path / name)


def _agrees_with_the_table(name: str, names: tuple[str, ...], bundles: Path, folder: Path) -> None:
    source = saved(bundles, name, **WITH.get(name, {}))
    for form in names:
        try:
            exporting.export(source, folder / form, form, Clips(noise(4), "noise"))
            found = "yes"
        except UserError as problem:
            found = str(problem).partition(": ")[2]
        assert verdicts()[name][form].startswith(found), (name, form, found)


def verdicts() -> dict[str, dict[str, str]]:
    """The table of the page, by architecture and format."""
    section = PAGE.read_text(encoding="utf-8").partition("## Formats")[2].partition("## ")[0]
    head, _, *rows = map(_cells, re.findall(r"^\|.*\|$", section, re.M))
    return {row[0].strip("`"): dict(zip(head[1:], row[1:], strict=True)) for row in rows}


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_the_table_has_every_architecture_and_format() -> None:
    assert [*verdicts()] == [*MODULES]
    assert all([*row] == [*formats.FORMATS] for row in verdicts().values())


def test_int8_takes_a_quarter_of_the_bytes_and_keeps_most_labels(
    bundles: Path, tmp_path: Path
) -> None:
    # from dark to bright: what tells clips of equal noise apart is less than rounding
    shown = (noise(8) * np.linspace(0.1, 1, 8)[:, None, None, None, None]).astype(np.uint8)
    source = saved(bundles, "frame_voting", shown=shown, filters=(32, 64))
    fitted = Clips(shown, "noise")
    form = exporting.export(
        source,
        tmp_path / "f",
        "openvino",
        fitted,
        precision="int8",
        calibration=fitted,
    )
    assert form.details.largest_change > 1e-6
    weights = (tmp_path / "f" / "model.bin").stat().st_size
    parameters = sum(weight.size for weight in bundle.load(source).model.get_weights())
    assert weights < 0.4 * 4 * parameters


# === The scripts ===


def run_alone(folder: Path, video: Path, python: str = sys.executable) -> dict[str, float]:
    """What predict.py prints, without kinoflow in its way."""
    # -P: not the working folder, which holds kinoflow; the script's own folder is named instead
    done = subprocess.run(
        [python, str(folder / "predict.py"), str(video)],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = done.stdout.strip().rpartition(": ")[2]
    return {label: float(p) for label, p in (each.split() for each in told.split(", "))}


@pytest.mark.parametrize("name", SHORT["c3d"])
def test_the_script_of_a_form_answers_as_the_bundle(
    name: str, forms_of_c3d: dict[str, forms.Form], c3d: Path, tmp_path: Path
) -> None:
    video = write_video(tmp_path / "a.avi", moving_square(21))
    whole = bundle.load(c3d)
    expected = whole.predict(sample(video, whole.clip)[None])[0]
    told = run_alone(forms_of_c3d[name].folder, video)
    assert len(told) == 3
    for label, probability in told.items():
        assert probability == pytest.approx(expected[whole.labels.index(label)], abs=2e-4)


@pytest.mark.parametrize("name", ["openvino", "onnx", "litert"])
def test_the_script_needs_nothing_but_what_it_says(
    name: str, forms_of_c3d: dict[str, forms.Form], tmp_path: Path
) -> None:
    folder = forms_of_c3d[name].folder
    asked = (folder / "requirements.txt").read_text(encoding="utf-8").split()
    assert asked == ["numpy", "opencv-python-headless", formats.FORMATS[name].package]
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = tmp_path / "pins.txt"
    pins.write_text("\n".join(re.findall(r"^(\S+==\S+)(?: ;.*)? \\$", lock, re.M)))
    python = tmp_path / "venv" / "bin" / "python"
    uv: list[str | Path] = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "-q", "-p", sys.executable, tmp_path / "venv"], check=True)
    # what `make install` has fetched is kept by uv
    into = [*uv, "pip", "install", "-q", "--offline", "-p", python, "-c", pins, *asked]
    if subprocess.run(into, check=False, capture_output=True).returncode:
        pytest.skip("uv keeps no copy of these packages, and tests use no network")
    video = write_video(tmp_path / "a.avi", moving_square(21))
    assert run_alone(folder, video, str(python)) == run_alone(folder, video)


@pytest.mark.parametrize("sampling", ["uniform", "segment", "motion"])
@pytest.mark.parametrize("frames", [5, 40])
def test_the_script_takes_the_same_pixels(
    sampling: str, frames: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ClipSpec(8, 24, 32, sampling=sampling, padding="mask")  # type: ignore[arg-type]
    video = write_video(tmp_path / "a.avi", moving_square(frames))
    folder = tmp_path / "form"
    folder.mkdir()
    exporting.add_runner(formats.FORMATS["onnx"], folder)
    code = """import json, sys, numpy, video
numpy.save("clip.npy", video.sample(sys.argv[1], json.loads(sys.argv[2])))"""
    asked = [sys.executable, "-c", code, str(video), json.dumps(vars(spec))]
    subprocess.run(asked, cwd=folder, check=True)
    taken = np.load(folder / "clip.npy")
    np.testing.assert_array_equal(taken, sample(video, spec))


def test_the_script_is_short_enough_to_read(forms_of_c3d: dict[str, forms.Form]) -> None:
    script = (forms_of_c3d["openvino"].folder / "predict.py").read_text(encoding="utf-8")
    assert len(script.splitlines()) <= 60


# === What is refused ===


def refused(source: Path, target: Path, form: str, **options: object) -> str:
    with pytest.raises(UserError) as problem:
        exporting.export(source, target, form, Clips(noise(2), "noise"), **options)  # type: ignore[arg-type]
    assert not target.exists() or not (target / forms.DETAILS).exists()
    return str(problem.value)


def test_what_cannot_be_exported_is_told_in_a_line(
    c3d: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = tmp_path / "new"
    assert refused(c3d, new, "openvin").endswith("did you mean openvino?")
    assert refused(tmp_path, new, "onnx").endswith("train one with `make repro`")
    assert refused(c3d, tmp_path, "onnx") == (
        f"{tmp_path} exists already: name another folder, or remove it"
    )
    said = refused(c3d, new, "litert", precision="bfloat16")
    assert said == "litert has no precision 'bfloat16'; there are float32, float16, int8"
    said = refused(c3d, new, "openvino", precision="int8", calibration=Clips(noise(3), "noise"))
    assert said.startswith("int8 is fitted to clips of training recordings, at least 8, and there")
    monkeypatch.setattr(formats, "find_spec", lambda module: None)
    assert refused(c3d, new, "onnx") == (
        "onnx needs onnx, which is not installed: pip install 'kinoflow[onnx]'"
    )
    with pytest.raises(UserError, match="holds no exported model: make one by `kinoflow export`"):
        forms.load(c3d)


def test_a_model_that_a_format_cannot_hold_says_why(
    bundles: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = saved(bundles, "c3d")
    model = tmp_path / "damaged"
    model.mkdir()
    (model / bundle.DESCRIPTION).write_bytes((source / bundle.DESCRIPTION).read_bytes())
    (model / bundle.MODEL).write_bytes(b"no model")
    said = refused(model, tmp_path / "new", "litert")
    assert "\n" not in said
    assert said.startswith("test cannot become litert: ")


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "loc(x): error: 'tf.MaxPool3D' op is neither a custom op nor a flex op\n<unknown>",
            "MaxPool3D",
        ),
        (
            "Check 'false' failed\n-- No conversion rule found for operations: Bitcast\nTo",
            "Bitcast",
        ),
    ],
)
def test_what_a_format_lacks_is_picked_from_a_page_of_text(said: str, reason: str) -> None:
    assert convert.reason(RuntimeError(said)) == f"it has no operator {reason}"


def test_a_form_that_answers_otherwise_is_refused(c3d: Path, tmp_path: Path) -> None:
    none = exporting.Limits(1e-12, 1)
    said = refused(c3d, tmp_path / "new", "openvino", precision="float16", limits=none)
    assert said.startswith(
        "openvino float16 does not answer as test does: a probability changes by"
    )
    assert not (tmp_path / "new").exists()


# === The command ===


def test_the_command_exports_and_says_how_equal_the_answers_are(
    c3d: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    video = write_video(tmp_path / "a.avi", moving_square(21))
    wanted = ("export", c3d, "--format", "onnx", "-o")
    assert call(monkeypatch, *wanted, "edge", "--video", video) == 0
    said = capsys.readouterr()
    assert said.out.startswith("edge: onnx float32, 0.0")
    assert "compared on the videos that were named (1): 100% have the same label" in said.out
    assert said.err == "python edge/predict.py VIDEO answers without kinoflow\n"
    # what takes a bundle and asks for answers takes the form, too
    for model in (c3d, "edge"):
        assert call(monkeypatch, "predict", "--model", model, "--top", 5, video) == 0
    one, other = capsys.readouterr().out.splitlines()
    assert one == other
    assert call(monkeypatch, *wanted, "edge") == 2
    assert call(monkeypatch, *wanted, "b", "--video", "none.avi") == 2
    assert call(monkeypatch, "export", "--format", "onnx", "-o", "b") == 2
    assert capsys.readouterr().err.splitlines() == [
        "error: edge exists already: name another folder, or remove it",
        "error: none.avi: there is no such file",
        "error: no winner here: run `make repro`, or name a bundle with --model",
    ]


# === The clips to compare on ===


def test_without_clips_of_a_run_they_are_made_up(c3d: Path, tmp_path: Path) -> None:
    description = bundle.load(c3d).description
    found = clips.held_out(Workspace(tmp_path), description)
    assert found.named == "made-up clips"
    assert found.frames.shape[1:] == CLIP.shape
    assert clips.of_side(Workspace(tmp_path), description, "train", 8) is None
    with pytest.raises(UserError, match=r"a\.avi: there is no such file"):
        clips.of_videos([tmp_path / "a.avi"], description)
