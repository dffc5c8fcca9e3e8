"""The command `kinoflow` as a user types it."""

import importlib.metadata
import re
import sys
from pathlib import Path

import av
import pytest

from kinoflow import bundle, cli
from kinoflow.bundle import Bundle
from kinoflow.models import registry
from kinoflow.video import ClipSpec, sample
from tests.media import moving_square, write_video
from tests.networks import save_bundle, small_model

SPEC = ClipSpec(4, 16, 16)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle") / "frame_voting"
    save_bundle(folder, small_model("frame_voting", SPEC), SPEC, clip=SPEC)
    return bundle.load(folder)


def call(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["kinoflow", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def test_predict_answers_for_videos_and_names_bad_ones(
    model: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    good = write_video(tmp_path / "good.avi", moving_square(12))
    bad = tmp_path / "bad.avi"
    bad.write_text("no video")
    best = model.labels[model.predict(sample(good, model.clip)[None])[0].argmax()]
    with_model = ["--model", str(model.folder)]
    assert call(monkeypatch, "predict", *with_model, str(good)) == 0
    assert f"good.avi: {best} 0." in capsys.readouterr().out
    assert call(monkeypatch, "predict", *with_model, str(bad), str(good)) == 2
    captured = capsys.readouterr()
    assert "bad.avi: it is no video" in captured.err
    assert "good.avi" in captured.out
    odd = good.rename(tmp_path / "\udcff\x1b[31m.avi")
    assert call(monkeypatch, "predict", *with_model, str(odd)) == 0
    said = capsys.readouterr().out
    assert rf"\udcff\x1b[31m.avi: {best} 0." in said


def test_live_answers_again_and_again(
    model: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    video = write_video(tmp_path / "a.avi", moving_square(13))
    arguments = ["live", "--model", str(model.folder), "--every", "3", "--window", "0.16"]
    assert call(monkeypatch, *arguments, str(video)) == 0
    printed = capsys.readouterr().out
    assert len(printed.splitlines()) == 4
    assert call(monkeypatch, *arguments, "--source", str(video)) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(
    "arguments",
    [["--top", "0"], ["--top", "few"], ["--every", "0"], ["--memory", "-1"]],
)
def test_options_that_count_take_whole_numbers_from_one(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "live", *arguments, "a.avi") == 2
    option, value = arguments
    said = f"argument {option}: must be a whole number of at least 1, got {value}"
    assert said in capsys.readouterr().err


def test_commands_without_a_model_or_results_say_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "predict", "a.avi") == 2
    assert call(monkeypatch, "results") == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "error: no winner here: run `make repro`, or name a bundle with --model",
        "error: nothing is evaluated yet: run `make repro`",
    ]


def test_doctor_tells_the_decoder_that_reads_videos_and_the_models_that_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "doctor") == 0
    found = dict(re.findall(r"^(\S+) +(.+)$", capsys.readouterr().out, re.MULTILINE))
    # OpenCV brings an FFmpeg of its own, which reads no file here
    assert found["ffmpeg"].startswith(f"{av.ffmpeg_version_info} in PyAV, libavcodec ")
    assert found["models"].split(", ") == list(registry.MODULES)
    assert found["av"] == av.__version__
    assert found["opencv-python-headless"] == importlib.metadata.version("opencv-python-headless")
    assert "cpu" in found["backend"].lower()
    assert found["disk"].endswith(" GB free")
