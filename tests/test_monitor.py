"""What monitoring measures, keeps and compares: no alarm without a change, and one with it."""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import pytest

from kinoflow import bundle as bundles
from kinoflow.bundle import Bundle
from kinoflow.monitor import comparing, features, inputs, reference, samples
from kinoflow.monitor.answers import Answers, HeldOut, Served
from kinoflow.monitor.comparing import Comparison, compare
from kinoflow.monitor.inputs import NUMBERS, Header
from kinoflow.monitor.reference import Clip
from kinoflow.monitor.statistics import holm
from kinoflow.system.errors import UserError
from kinoflow.video import sample
from serving.answers import Answer, Guess, Milliseconds, Model
from serving.samples import Samples, Seen
from tests.media import moving_square, write_video
from tests.networks import CLIP, SMALL, noise, save_bundle, shared_model

ODD = '<b>"é\u202e\n1e3'


# === Features ===


@pytest.mark.parametrize("name", SMALL)
def test_the_last_layer_is_found_in_every_architecture(name: str) -> None:
    model = shared_model(name)
    found = features.penultimate(model)
    last = [layer for layer in model.layers if isinstance(layer, keras.layers.Dense)][-1]
    assert found is last.input


# one frame at a time, with a loop over time, with a backbone and many features
@pytest.mark.parametrize("name", ["frame_voting", "lrcn", "i3d"])
def test_features_leave_the_answers_bit_for_bit_as_they_are(name: str, tmp_path: Path) -> None:
    model = shared_model(name)
    bundle = Bundle(tmp_path, None, trained=model)  # type: ignore[arg-type]
    clips = noise(3)
    probabilities, found = features.forward(bundle)(clips)
    assert np.array_equal(probabilities, bundles.compiled(model)(clips))
    assert found.shape == (3, min(features.MOST, features.penultimate(model).shape[-1]))
    assert np.ptp(found, axis=0).max() > 0
    # the same clip has the same features, in whatever batch
    assert np.allclose(features.forward(bundle)(clips[1:2])[1], found[1:2], atol=1e-5)


# === Inputs ===


def test_a_darker_stiller_and_blurred_clip_measures_less() -> None:
    clip = moving_square(8)
    seen = inputs.look(clip)
    assert seen.brightness == pytest.approx((clip @ [0.299, 0.587, 0.114]).mean(), abs=0.6)
    assert inputs.look((clip * 0.6).astype(np.uint8)).brightness < 0.65 * seen.brightness
    assert inputs.look(clip[[0, 0, 0]]).motion == 0 < seen.motion
    assert inputs.look(clip[:1]).motion == 0
    blurred = np.stack([frame // 4 + 90 for frame in clip]).astype(np.uint8)
    assert inputs.look(blurred).sharpness < 0.5 * seen.sharpness
    padded = np.concatenate([clip, np.zeros_like(clip)])
    assert inputs.look(padded) == seen


def test_a_file_says_what_it_is_without_being_decoded(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", moving_square(30), fps=12.5)
    assert inputs.header(path) == Header(2.4, 12.5, 64.0, 48.0, "mjpeg")
    (tmp_path / "text.avi").write_text("no video")
    unknown = inputs.header(tmp_path / "text.avi")
    assert np.isnan([unknown.seconds, unknown.fps, unknown.width, unknown.height]).all()
    assert unknown.codec == ""


# === What the service keeps ===


def answer(number: int, label: str = "A", bento: str = "v1") -> Answer:
    return Answer(
        id=f"{number:032x}",
        label=label,
        confidence=0.75,
        top=[Guess(label=label, confidence=0.75)],
        probabilities={label: 0.75},
        milliseconds=Milliseconds(decode=1, inference=1),
        model=Model(candidate="c", bento=bento, device="cpu:0"),
    )


def seen(number: int = 0, video: Path | None = None) -> Seen:
    clip = np.full((2, 8, 8, 3), number % 256, np.uint8)
    header = Header(1.5, 25.0, 64.0, 48.0, "h264") if video else Header()
    return Seen(clip, np.array([number, 0.5], np.float32), header, video)


def kept(folder: Path, count: int, bento: str = "v1", most: int = 100) -> Served:
    """What is kept once the thread that writes has come so far."""
    until = time.monotonic() + 20
    while len(found := samples.read(folder / samples.FILE, bento, most)) < count:
        assert time.monotonic() < until, f"{len(found)} of {count} answers"
        time.sleep(0.02)
    return found


@contextlib.contextmanager
def keeping(folder: Path, most: int = 100, most_bytes: int = 0) -> Iterator[Samples]:
    store = Samples(folder, most, most_bytes)
    yield store
    store.close()


def test_an_answer_is_read_back_as_it_was_measured(tmp_path: Path) -> None:
    assert samples.newest_bento(tmp_path / samples.FILE) is None
    video = write_video(tmp_path / "a.avi", moving_square(4))
    with keeping(tmp_path) as store:
        store.take(answer(1, ODD), seen(7, video))
        store.take(answer(2, "B"), seen(9))
        store.take(answer(3, "B", "v2"), seen(9))
    found = kept(tmp_path, 2)
    assert samples.newest_bento(tmp_path / samples.FILE) == "v2"
    assert found.label.tolist() == [ODD, "B"]
    assert found.number("brightness").tolist() == [7, 9]
    assert found.number("fps")[0] == 25
    assert np.isnan(found.number("fps")[1])
    assert found.codec.tolist() == ["h264", ""]
    assert found.features.tolist() == [[7, 0.5], [9, 0.5]]
    # no footage unless it is asked for
    assert found.footage.tolist() == ["", ""]
    assert not [*(tmp_path / samples.FOOTAGE).iterdir()]


def until(folder: Path, latest: str, *, every: bool) -> None:
    """Wait now and then until the latest answer is written, so that none is left out."""
    patience = time.monotonic() + 60
    while every and samples.read(folder / samples.FILE, "v1", 1).id.tolist() != [latest]:
        assert time.monotonic() < patience
        time.sleep(0.02)


def test_no_more_answers_and_footage_are_kept_than_there_may_be(tmp_path: Path) -> None:
    video = write_video(tmp_path / "a.avi", moving_square(4))
    size = video.stat().st_size
    with keeping(tmp_path, most=40, most_bytes=25 * size) as store:
        for number in range(400):
            store.take(answer(number), seen(number, video))
            until(tmp_path, answer(number).id, every=number % 20 == 19)
    found = samples.read(tmp_path / samples.FILE, "v1", 1000)
    assert len(found) == 40
    assert found.id[-1] == answer(399).id
    names = {name for name in found.footage.tolist() if name}
    assert names == {path.name for path in (tmp_path / samples.FOOTAGE).iterdir()}
    assert 1 <= len(names) <= 25
    # a video that a kill has left, and a smaller bound
    (tmp_path / samples.FOOTAGE / "left").write_bytes(b"video")
    with keeping(tmp_path, most=0):
        pass
    assert len(samples.read(tmp_path / samples.FILE, "v1", 1000)) == 0
    assert not [*(tmp_path / samples.FOOTAGE).iterdir()]


def test_requests_do_not_wait_for_a_log_that_is_busy(tmp_path: Path) -> None:
    with keeping(tmp_path, most=1000) as store:
        with contextlib.closing(sqlite3.connect(tmp_path / samples.FILE)) as other:
            other.execute("BEGIN IMMEDIATE")  # nobody else can write
            begun = time.monotonic()
            for number in range(500):
                store.take(answer(number), seen(number))
            assert time.monotonic() - begun < 2
            other.rollback()
        last = kept(tmp_path, 1, most=1000)
    # those that found no room to wait are left out
    assert 1 <= len(last) < 500


def test_a_log_that_is_none_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / samples.FILE).write_text("this is no database, but it is long enough to be one")
    with pytest.raises(UserError, match="cannot be read"):
        samples.newest_bento(tmp_path / samples.FILE)


# === The reference ===


def test_a_reference_is_what_the_bundle_answers(tmp_path: Path) -> None:
    save_bundle(tmp_path / "bundle", shared_model("frame_voting"), CLIP)
    bundle = bundles.load(tmp_path / "bundle")
    paths = [write_video(tmp_path / f"{n}.avi", moving_square(12, seed=n)) for n in range(3)]
    clips = [Clip(path, ODD, f"recording {n // 2}") for n, path in enumerate(paths)]
    made = reference.make(bundle, clips, lambda clip: sample(clip.video, bundle.clip))
    assert made.recording.tolist() == ["recording 0", "recording 0", "recording 1"]
    assert made.truth.tolist() == [ODD] * 3
    for path, label, confidence in zip(paths, made.label, made.confidence, strict=True):
        (probabilities,) = bundle.predict(sample(path, bundle.clip)[None])
        assert bundle.labels[int(probabilities.argmax())] == label
        assert confidence == pytest.approx(probabilities.max(), abs=1e-6)
    assert made.number("width").tolist() == [64] * 3
    for name in "ab":
        (tmp_path / name).mkdir()
        reference.write(made, tmp_path / name)
    first, second = ((tmp_path / name / reference.FILE).read_bytes() for name in "ab")
    assert first == second


# === Comparisons ===


def recordings(
    rng: np.random.Generator, count: int, clips: int, *, shift: float = 0.0, share: float = 1.0
) -> HeldOut:
    """Clips of recordings of two classes; those of one recording hardly differ."""
    scene = rng.normal(size=(count, 12))
    # a shift of all features, in a part of the recordings
    scene[: round(share * count)] += shift
    rows = np.repeat(np.arange(count), clips)
    values = scene[rows] + 0.1 * rng.normal(size=(count * clips, 12))
    truth = np.array(["A", ODD])[rows % 2]
    numbers = 100 + 10 * values[:, :8]
    numbers[:, NUMBERS.index("fps")] = 25
    found = values.astype(np.float32)
    found[:, 0] += 6 * (rows % 2)
    return HeldOut(
        numbers=numbers,
        codec=np.full(len(rows), "h264"),
        label=truth,
        confidence=1 / (1 + np.exp(-values[:, 9])),
        features=found,
        recording=np.array([f"r{row}" for row in rows]),
        truth=truth,
    )


def traffic(of: HeldOut, rows: np.ndarray | slice = slice(None), **changes: np.ndarray) -> Answers:
    names = ("numbers", "codec", "label", "confidence", "features")
    return Answers(**{name: getattr(of, name)[rows] for name in names} | changes)


def looked(against: HeldOut, answers: Answers, seed: int = 0) -> dict[str, Comparison]:
    found = compare(against, answers, false_alarms=0.05, draws=200, seed=seed)
    return {each.name: each for each in found}


def test_other_recordings_of_the_same_kind_raise_no_alarm() -> None:
    rng = np.random.default_rng(0)
    raw, alarms = 0, 0
    for seed in range(12):
        # 120 clips of 40 recordings are 40 samples, not 120; the answers' recordings are not known
        against, now = recordings(rng, 40, 3), recordings(rng, 70, 3)
        found = looked(against, traffic(now, rng.permutation(210)[:200]), seed)
        alarms += any(each.changed for each in found.values())
        p = found["brightness"].p
        raw += p is not None and p <= 0.05
    assert alarms <= 1
    assert raw <= 3


def test_what_changes_is_found_and_named() -> None:
    rng = np.random.default_rng(1)
    against = recordings(rng, 40, 3)
    now = recordings(rng, 200, 1)
    darker = now.numbers.copy()
    darker[:, NUMBERS.index("brightness")] -= 30
    darker[:, NUMBERS.index("fps")] = 12.5
    found = looked(against, traffic(now, numbers=darker))
    assert {name for name, each in found.items() if each.changed} == {"brightness", "fps"}
    assert (found["fps"].before, found["fps"].now) == (25, 12.5)
    assert found["brightness"].psi is not None
    assert found["brightness"].psi > 1
    # a third of what comes is of another kind, under the labels that there are
    novel = recordings(rng, 200, 1, shift=3, share=0.33)
    mixed = traffic(novel, rng.permutation(200), numbers=now.numbers)
    assert looked(against, mixed)["features"].changed
    other = looked(against, traffic(now, codec=np.full(200, "av1")))
    assert other["codec"].changed


def test_labels_are_compared_whatever_they_are_called() -> None:
    rng = np.random.default_rng(2)
    against, now = recordings(rng, 40, 3), recordings(rng, 200, 1)
    found = looked(against, traffic(now, label=np.full(200, "never answered before")))
    assert found["label"].changed
    found = looked(against, traffic(now))
    assert not any(each.changed for each in found.values())


def test_what_cannot_be_compared_is_said_in_words() -> None:
    rng = np.random.default_rng(3)
    against, now = recordings(rng, 20, 2), recordings(rng, 40, 1)
    unknown = now.numbers.copy()
    unknown[:, NUMBERS.index("seconds")] = np.nan
    found = looked(
        against,
        traffic(now, numbers=unknown, features=np.zeros((40, 3), np.float32)),
    )
    assert found["features"].word == "this model has no features to compare"
    assert found["seconds"].word == "not known of enough videos"
    assert found["fps"].word == found["codec"].word == "the same in all videos"
    assert found["brightness"].p is not None
    for few in (traffic(now, slice(0, comparing.LEAST_ANSWERS - 1)), traffic(now, slice(0, 0))):
        with pytest.raises(ValueError, match="too little"):
            looked(against, few)


def test_p_values_are_corrected_for_their_number() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx(
        {"a": 0.03, "c": 0.06, "b": 0.06}
    )
    assert holm({"a": 0.01}, others=4) == pytest.approx({"a": 0.05})
