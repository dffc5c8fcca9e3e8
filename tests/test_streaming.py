"""Models that read a video frame by frame, and `kinoflow live` with them and with others."""

import re
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from kinoflow import bundle, cli
from kinoflow.bundle import Bundle, Probabilities
from kinoflow.live import Answering, moments
from kinoflow.models import MODELS, options_of
from kinoflow.models.streaming import Stream, can_stream
from kinoflow.video import ClipSpec, Frames, stream
from kinoflow.video.live import timed
from tests.media import moving_square, write_video
from tests.networks import CLIP, answers, noise, save_bundle, small_model

LENGTH = 13  # frames of the video
WINDOW = 8 / 25  # seconds: 8 frames


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("video") / "a.avi", moving_square(LENGTH))


@pytest.fixture
def frames(video: Path) -> Frames:
    """The video's frames; `kinoflow live` takes each of them if windows are as long as 8 frames."""
    [clip] = stream(video, replace(CLIP, frames=LENGTH))
    return clip


def sure(model: keras.Model) -> keras.Model:
    """The model with so large weights in its head that its answers are far from each other."""
    head = model.get_layer("probabilities")
    head.kernel.assign((1000 if model.name == "movinet" else 100) * head.kernel)
    return model


def movinet(frames: int, inputs: str = "differences") -> keras.Model:
    """A causal model for clips of so many frames; the same weights for any number of them."""
    return built(frames, inputs)


@cache
def built(frames: int, inputs: str) -> keras.Model:
    model = sure(small_model("movinet", replace(CLIP, frames=frames), inputs=inputs))
    if frames != CLIP.frames:
        # the same seed does not do: threads of other tests draw random numbers as well
        model.set_weights(built(CLIP.frames, inputs).get_weights())
    return model


@pytest.mark.parametrize("inputs", ["frames", "both"])
def test_a_stream_answers_after_each_frame_as_the_clip_so_far(inputs: str, tmp_path: Path) -> None:
    model = movinet(8, inputs=inputs)
    save_bundle(tmp_path / "bundle", model, CLIP)
    reader = Stream(bundle.load(tmp_path / "bundle").model)
    clip = noise(1)[0]
    streamed = [reader(frame[None])[0] for frame in clip]
    for frames in (1, 3, 8):
        expected = answers(movinet(frames, inputs=inputs), clip[None, :frames])[0]
        np.testing.assert_allclose(streamed[frames - 1], expected, atol=1e-4)
    assert abs(streamed[-1] - streamed[0]).max() > 0.01
    reader.reset()
    np.testing.assert_array_equal(reader(clip[:1])[0], streamed[0])


def test_videos_side_by_side_are_read_and_forgotten_apart() -> None:
    one, other = noise(2)[:, :3]
    model = movinet(8)
    alone, both = Stream(model), Stream(model, videos=2)
    for frames in zip(one, other, strict=True):
        found = both(np.stack(frames))
    both.reset(slice(1, 2))
    found = both(np.stack([one[0], one[0]]))
    for frame in (*one, one[0]):
        expected = alone(frame[None])
    np.testing.assert_allclose(found[:1], expected, atol=1e-4)
    alone.reset()
    np.testing.assert_allclose(found[1:], alone(one[:1]), atol=1e-4)
    assert abs(found[0] - found[1]).max() > 0.01


# models whose only causal layer takes the differences of frames are not causal
@pytest.mark.parametrize("name", MODELS)
def test_movinet_alone_can_stream(name: str) -> None:
    options: dict[str, Any] = {"inputs": "both"} if "inputs" in options_of(MODELS[name]) else {}
    model = small_model(name, **options)
    assert can_stream(model) == (name == "movinet")
    if name != "movinet":
        with pytest.raises(ValueError, match=f"{name} cannot answer frame by frame: its layer "):
            Stream(model)


def printed(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> np.ndarray:
    """What `kinoflow live` prints, as probabilities (answers, classes)."""
    monkeypatch.setattr(sys, "argv", ["kinoflow", "live", "--top", "5", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" s: ")[0] for line in lines] == ["0.3", "0.4", "0.5"]
    found = [dict(re.findall(r"([A-E]) ([\d.]+)", line)) for line in lines]
    return np.array([[float(answer[label]) for label in "ABCDE"] for answer in found])


@pytest.mark.parametrize("name", ["lrcn", "movinet"])
def test_live_answers_for_the_latest_clip_or_for_all_frames_so_far(
    name: str,
    video: Path,
    frames: Frames,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = movinet(CLIP.frames) if name == "movinet" else sure(small_model(name))
    save_bundle(tmp_path / "bundle", model, CLIP)
    raw = ["--every", "2", "--window", str(WINDOW), "--hold", "0"]
    arguments = ["--model", str(tmp_path / "bundle"), *raw, str(video)]
    found = printed(arguments, monkeypatch, capsys)
    after = (8, 10, 12)
    expected = [
        answers(movinet(count), frames[None, :count])[0]
        if name == "movinet"
        else answers(model, frames[None, count - 8 : count])[0]
        for count in after
    ]
    np.testing.assert_allclose(found, expected, atol=6e-4)  # printed to three places
    assert abs(found[0] - found[-1]).max() > 0.01


def causal(folder: Path, taken: ClipSpec = CLIP, *, flip: bool = False) -> Bundle:
    save_bundle(folder / "bundle", movinet(taken.frames), taken, flip=flip)
    return bundle.load(folder / "bundle")


def answered(model: Bundle, video: Path, every: int, memory: int) -> list[Probabilities]:
    """Every answer to a video, not smoothed."""
    answering = Answering(model, WINDOW, every=every, memory=memory)
    shown = moments(answering, timed(video), hold=0)
    return [answer.probabilities for moment in shown for answer in moment.answers]


def test_old_frames_are_forgotten(video: Path, frames: Frames, tmp_path: Path) -> None:
    *_, last = answered(causal(tmp_path), video, every=1, memory=4)
    # one stream began anew at frame 4 and at frame 12, the other at frame 8
    expected = answers(movinet(5), frames[None, 8:])[0]
    np.testing.assert_allclose(last, expected, atol=1e-4)


def test_frames_are_as_far_apart_as_in_clips_and_mirrored_where_clips_are(
    video: Path, frames: Frames, tmp_path: Path
) -> None:
    model = causal(tmp_path, replace(CLIP, frames=4), flip=True)
    first, *_ = answered(model, video, every=1, memory=256)
    np.testing.assert_allclose(first, model.predict(frames[None, :8])[0], atol=1e-4)
    one_side = causal(tmp_path, replace(CLIP, frames=4)).predict(frames[None, :8])[0]
    assert abs(first - one_side).max() > 1e-3
