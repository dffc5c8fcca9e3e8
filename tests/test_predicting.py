"""`kinoflow predict` and `live` with outputs: tables, pictures, labels burnt in, folders."""

import csv
import json
import os
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from kinoflow import bundle
from kinoflow.bundle import Bundle
from kinoflow.commands.shared import window_seconds
from kinoflow.render import film, label
from kinoflow.video import ClipSpec, Frames, sample
from tests.media import ffmpeg, moving_square, write_video
from tests.networks import save_bundle, small_model
from tests.test_cli import call

SPEC = ClipSpec(4, 16, 16)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle") / "frame_voting"
    save_bundle(folder, small_model("frame_voting", SPEC), SPEC, clip=SPEC)
    return bundle.load(folder)


def with_sound(path: Path, *coding: str) -> Path:
    """3 seconds of 96x64 pixels, frames at uneven times, with sound; 0.2 s of it come first."""
    picture = "testsrc2=size=96x64:rate=25:duration=3,select='not(mod(n,5))+gt(n,30)'"
    sound = "sine=frequency=440:duration=3.2"
    ffmpeg(
        *("-itsoffset", "0.2", "-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound),
        *("-fps_mode", "vfr", "-map", "0:v", "-map", "1:a", *coding, path),
    )
    return path


def decoded(path: Path) -> tuple[list[float], np.ndarray]:
    """The times of the frames from the first on, and how bright the bottom of each is."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        first = frames[0].time or 0
        bottoms = [frame.to_ndarray(format="gray")[-10:].mean() for frame in frames]
        return [(frame.time or 0) - first for frame in frames], np.array(bottoms)


def sound_of(path: Path) -> tuple[float, np.ndarray]:
    """When the sound begins, counted from the first picture, and its samples."""
    with av.open(str(path)) as container:
        picture = next(container.decode(video=0)).time or 0
    with av.open(str(path)) as container:
        frames = list(container.decode(audio=0))
        samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
        return (frames[0].time or 0) - picture, samples


def test_a_timeline_as_tables_picture_and_video(
    model: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    video = with_sound(tmp_path / "a.mp4")
    outputs = [str(tmp_path / f"out.{kind}") for kind in ("csv", "json", "svg", "png")]
    written = [word for output in outputs for word in ("-o", output)]
    arguments = ["predict", "--model", str(model.folder), "--window", "0.8", *written]
    assert call(monkeypatch, *arguments, "--video", str(tmp_path / "out.mp4"), str(video)) == 0
    printed = capsys.readouterr()
    assert "windows of 0.8 s (--window)" in printed.err
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    document = json.loads((tmp_path / "out.json").read_text())
    assert len(rows) == len(document["moments"]) > 8
    assert float(rows[0]["start"]) == 0
    assert float(rows[-1]["end"]) == document["seconds"] == pytest.approx(3, abs=0.05)
    for row, moment in zip(rows, document["moments"], strict=True):
        assert row["label"] == moment["label"]
        each = [float(row[f"p_{name}"]) for name in document["labels"]]
        np.testing.assert_allclose(each, moment["probabilities"], rtol=1e-6)
    for segment in document["segments"]:
        assert f"{segment['start']:.1f} to {segment['end']:.1f}  {segment['label']} " in printed.out
    assert ET.parse(tmp_path / "out.svg").getroot().tag.endswith("svg")  # noqa: S314
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")

    times, bottoms = decoded(video)
    found, drawn = decoded(tmp_path / "out.mp4")
    np.testing.assert_allclose(found, times, atol=1e-3)
    assert (drawn < bottoms * 0.8).all()
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"


# copied as it is, and coded anew
@pytest.mark.parametrize(
    ("name", "coding", "kept"),
    [
        ("a.mp4", (), "aac"),
        ("a.ts", ("-c:a", "aac"), "aac"),
        ("a.mkv", ("-c:a", "pcm_s16le"), "aac"),
        # AVI counts packets, not samples
        ("a.avi", ("-c:v", "mpeg4", "-c:a", "libmp3lame"), "mp3"),
        ("a.avi", ("-c:v", "mpeg4", "-c:a", "mp2"), "aac"),
    ],
)
def test_sound_is_kept_and_stays_in_step(
    name: str, coding: tuple[str, ...], kept: str, tmp_path: Path
) -> None:
    video = with_sound(tmp_path / name, *coding)
    out = tmp_path / "out.mp4"
    assert film.redraw(video, out, lambda time, frame: None) == ""
    before, after = sound_of(video), sound_of(out)
    # sound from before the first picture is left out
    first = max(before[0], 0)
    assert after[0] == pytest.approx(first, abs=0.05)
    assert len(after[1]) == pytest.approx(len(before[1]) - (first - before[0]) * 44100, abs=4000)
    assert np.abs(after[1][5000:50000].astype(float)).mean() > 0.01
    with av.open(str(out)) as container:
        assert container.streams.audio[0].codec_context.codec.canonical_name == kept


def test_a_label_is_drawn_in_any_script_and_stays_in_its_band() -> None:
    def band(text: str, *, width: int = 320) -> Frames:
        frame = np.full((240, width, 3), 128, np.uint8)
        label.draw(frame, text, 0.5)
        assert (frame[:-24] == 128).all()
        return frame[-24:]

    texts = ["Push-ups", "Отжимания", "俯卧撑", "تمارين", "<b>\"x'\n\x1b[31m", "y" * 500, ""]
    drawn = [band(text) for text in texts]
    assert len({one.tobytes() for one in drawn}) == len(texts)
    # a font without letters of a script draws a question mark for each
    assert not np.array_equal(band("俯卧撑"), band("???"))
    band("a long label in a narrow video", width=24)
    tiny = np.full((3, 2, 3), 128, np.uint8)
    label.draw(tiny, "a", 1.0)


def test_windows_are_as_long_as_the_videos_of_the_training(model: Bundle) -> None:
    def trained_on(seconds: float | None) -> Bundle:
        return replace(model, description=model.description.model_copy(update={"seconds": seconds}))

    taken, why = window_seconds(trained_on(3.5), None)
    assert (taken, why) == (3.5, "the median of the videos it was trained on")
    assert window_seconds(trained_on(None), None)[0] == 2.0
    assert window_seconds(trained_on(3.5), 7.0) == (7.0, "--window")


def test_wrong_outputs_are_refused_before_any_work(
    model: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    video = write_video(tmp_path / "a.avi", moving_square(12))
    (tmp_path / "b.mp4").symlink_to(video)
    for arguments, said in (
        (["--timeline", "-o", "a.xlsx", str(video)], "a.xlsx must end in one of .csv"),
        (["--video", "a.gif", str(video)], "a.gif must end in .mp4"),
        (["--video", str(tmp_path / "b.mp4"), str(video)], "is the video itself"),
        (["-o", "a.csv", str(video), str(video)], "one video at a time"),
        (["--csv", "a.csv", str(video)], "--csv is for one folder"),
        ([str(tmp_path)], "name its table, --csv out.csv"),
        (["--timeline", str(tmp_path)], "a timeline is of a video, not of a folder"),
        (["--timeline", "--window", "nan", str(video)], "must be a number of seconds"),
        (["--window", "2", str(video)], "--window is for --timeline"),
    ):
        assert call(monkeypatch, "predict", "--model", str(model.folder), *arguments) == 2
        assert said in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.avi", "b.mp4"]


def rows_of(table: Path) -> dict[str, dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return {row["video"]: row for row in csv.DictReader(file)}


def test_a_folder_is_answered_for_and_gone_on_with(
    model: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root = tmp_path / "footage"
    names = ["b/1e3.avi", 'a "quoted", <b>\nname.avi', "NA.avi"]
    for seed, name in enumerate(names):
        write_video(root / "video.avi", moving_square(12, seed=seed))
        (root / name).parent.mkdir(exist_ok=True)
        (root / "video.avi").rename(root / name)
    odd = os.fsdecode(b"\xff.avi")
    (root / odd).write_text("no video")
    (root / ".hidden.avi").write_text("hidden")
    table = root / "out.csv"
    arguments = ["predict", "--model", str(model.folder), str(root), "--csv", str(table)]
    assert call(monkeypatch, *arguments) == 0
    printed = capsys.readouterr()
    assert "4 videos, 4 of them new or changed" in printed.out
    assert "1 could not be read" in printed.err
    rows = rows_of(table)
    assert set(rows) == {*names, r"\udcff.avi"}
    assert rows[r"\udcff.avi"]["problem"].startswith("it is no video")
    for name in names:
        expected = model.predict(sample(root / name, SPEC)[None])[0]
        found = [float(rows[name][f"p_{label}"]) for label in model.labels]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert rows[name]["predicted"] == model.labels[int(expected.argmax())]

    before = table.read_bytes()
    assert call(monkeypatch, *arguments) == 0
    printed = capsys.readouterr()
    assert "4 of 4 are answered for already" in printed.err
    assert table.read_bytes() == before
    # a row that is kept is not answered for again: what it says stays
    table.write_text(table.read_text(encoding="utf-8").replace("it is no video", "kept"), "utf-8")
    (root / "NA.avi").write_bytes(b"")
    (root / "b/1e3.avi").unlink()
    assert call(monkeypatch, *arguments) == 0
    assert "3 videos, 1 of them new or changed" in capsys.readouterr().out
    rows = rows_of(table)
    assert rows["NA.avi"]["problem"] == "the file is empty"
    assert rows[r"\udcff.avi"]["problem"].startswith("kept")
    assert "b/1e3.avi" not in rows

    foreign = tmp_path / "labels.csv"
    foreign.write_text("video,label\na,b\n")
    assert call(monkeypatch, *arguments[:-1], str(foreign)) == 2
    assert "is no table of answers" in capsys.readouterr().err
    assert foreign.read_text() == "video,label\na,b\n"


def test_live_writes_a_video_of_all_frames(
    model: Bundle,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    video = with_sound(tmp_path / "a.mp4")
    out = tmp_path / "out.mp4"
    arguments = ["live", "--model", str(model.folder), "--window", "0.8", "--source", str(video)]
    assert call(monkeypatch, *arguments, "-o", str(out)) == 0
    times, bottoms = decoded(video)
    found, drawn = decoded(out)
    np.testing.assert_allclose(found, times, atol=1e-3)
    # nothing is drawn before the first answer
    assert (drawn[np.array(times) < 0.7] > 0.9 * bottoms[np.array(times) < 0.7]).all()
    assert (drawn[np.array(times) > 1] < 0.8 * bottoms[np.array(times) > 1]).all()
    capsys.readouterr()
    # the OpenCV of the lock has no windows
    assert call(monkeypatch, *arguments, "--show") == 2
    assert capsys.readouterr().err.startswith("error: this OpenCV cannot open windows: install ")
    assert call(monkeypatch, *arguments, "0") == 2
    assert "name one source" in capsys.readouterr().err
