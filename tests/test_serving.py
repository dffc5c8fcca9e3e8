import os
import signal
import socket
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pandas as pd
import psutil  # type: ignore[import-untyped]
import pytest

from kinoflow import bundle
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace
from serving import settings
from serving.__main__ import newest, unpack
from tests.bento import SERVING, TOO_MUCH, Server

pytest_plugins = ["tests.bento_fixtures"]


@pytest.fixture(scope="module")
def answers(project: Path) -> pd.DataFrame:
    """predictions.csv, by video."""
    return pd.read_csv(Workspace(project).report("voting") / "predictions.csv", index_col="video")


@pytest.fixture
def video(project: Path, answers: pd.DataFrame) -> Path:
    return project / Workspace().data / str(answers.index[0])


def agrees(answer: httpx.Response, expected: pd.Series) -> bool:
    assert answer.status_code == 200, answer.text
    probabilities = answer.json()["probabilities"]
    return all(abs(p - expected[f"p_{label}"]) < 1e-5 for label, p in probabilities.items())


def refused(answer: httpx.Response, status: int = 400) -> str:
    """The sentence of a refusal."""
    assert answer.status_code == status, answer.text
    assert answer.json().keys() == {"error"}
    return str(answer.json()["error"])


def test_an_answer_holds_what_evaluation_recorded(
    server: Server, bento: Path, project: Path, answers: pd.DataFrame
) -> None:
    labels = bundle.load(Workspace(project).bundle("voting")).labels
    for video, expected in answers.iterrows():
        response = server.post(Workspace(project).data / str(video))
        assert agrees(response, expected)
        answer = response.json()
        assert tuple(answer["probabilities"]) == labels
        assert answer["label"] == expected["predicted"]
        assert answer["confidence"] == max(answer["probabilities"].values())
        assert len(answer["top"]) == SERVING["top_k"]
        assert answer["top"][0] == {"label": answer["label"], "confidence": answer["confidence"]}
        assert answer["milliseconds"].keys() == {"decode", "inference"}
        assert min(answer["milliseconds"].values()) > 0
        assert answer["model"]["candidate"] == "voting"
        assert answer["model"]["bento"] in bento.name
        assert answer["model"]["device"]


@pytest.mark.parametrize("content_type", ["application/octet-stream", "video/mp4", "text/plain"])
def test_the_content_type_does_not_matter(
    server: Server, video: Path, answers: pd.DataFrame, content_type: str
) -> None:
    form = {"video": ("clip.avi", video.read_bytes(), content_type)}
    assert agrees(server.predict(files=form), answers.iloc[0])


@pytest.mark.parametrize("name", ["../../evil.avi", "/evil.avi", "evil\0.avi", "e" * 300, "%s%03d"])
def test_a_hostile_file_name_is_harmless(
    server: Server, video: Path, answers: pd.DataFrame, name: str
) -> None:
    response = server.predict(files={"video": (name, video.read_bytes())})
    assert agrees(response, answers.iloc[0])
    assert not list(server.temporary.parent.rglob("*evil*"))


@pytest.mark.parametrize("content_type", ["text/plain", "video/x-msvideo"])
def test_a_text_is_no_video(server: Server, content_type: str) -> None:
    form = {"video": ("clip.avi", b"not a video\n" * 100, content_type)}
    assert "cannot be read as a video" in refused(server.predict(files=form))


def test_a_playlist_opens_no_other_file(server: Server, video: Path) -> None:
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{video}\n#EXT-X-ENDLIST\n"
    form = {"video": ("list.m3u8", playlist.encode(), "application/vnd.apple.mpegurl")}
    assert "cannot be read as a video" in refused(server.predict(files=form))


def test_an_empty_file_is_named_as_such(server: Server) -> None:
    assert "the file is empty" in refused(server.predict(files={"video": ("clip.avi", b"")}))


def test_an_upload_that_would_eat_the_memory_is_refused(server: Server, video: Path) -> None:
    side = (14000).to_bytes(2, "little") * 2
    picture = b"\x2c" + bytes(4) + side + b"\x00\x02\x02\x4c\x01\x00"
    bomb = b"GIF89a" + side + b"\x80\x00\x00" + bytes(6) + picture + b";"
    assert "more than 512 MB" in refused(server.predict(files={"video": ("clip.gif", bomb)}))
    assert server.predict(files={"video": video.read_bytes()}).status_code == 200


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"files": {"film": ("clip.avi", b"x")}},
        {"files": [("video", ("a.avi", b"x")), ("video", ("b.avi", b"x"))]},
        {"data": {"video": "clip.avi"}},
        {"data": {"video": "http://127.0.0.1/clip.avi"}, "files": {"other": b"x"}},
        {"json": {"video": "clip.avi"}},
        {"content": b"x", "headers": {"Content-Type": "multipart/form-data"}},
    ],
    ids=["nothing", "other field", "two", "text", "URL", "JSON", "no boundary"],
)
def test_a_request_without_video_is_told_how(server: Server, request_: dict[str, object]) -> None:
    assert "curl -F video=@" in refused(server.predict(**request_))


@pytest.mark.parametrize("announced", [True, False])
def test_too_large_an_upload_is_refused(server: Server, announced: bool) -> None:
    form = {"video": ("clip.avi", bytes(3_000_000))}
    request = httpx.Request("POST", server.url, files=form)
    body = request.read()
    content = body if announced else iter([body])
    answer = server.predict(
        content=content, headers={"Content-Type": request.headers["Content-Type"]}
    )
    assert "larger than 1 MB" in refused(answer, 413)


def test_a_truncated_video_is_answered_or_refused(server: Server, video: Path) -> None:
    whole = video.read_bytes()
    for part in (0.9, 0.5, 0.1):
        cut = whole[: int(part * len(whole))]
        answer = server.predict(files={"video": ("clip.avi", cut)})
        assert answer.status_code == 200 or refused(answer)


def test_requests_at_once_are_all_answered_right(
    server: Server, project: Path, answers: pd.DataFrame
) -> None:
    videos = list(answers.index) * 4
    with ThreadPoolExecutor(SERVING["max_concurrency"]) as pool:
        responses = pool.map(lambda video: server.post(Workspace(project).data / video), videos)
        for video, response in zip(videos, responses, strict=True):
            assert agrees(response, answers.loc[video])


def test_uploads_leave_nothing_behind(server: Server, video: Path) -> None:
    assert server.post(video).status_code == 200
    assert not list(server.temporary.rglob("kinoflow-upload-*"))


def test_its_page_loads_nothing_from_elsewhere(server: Server) -> None:
    page = httpx.get(server.url, trust_env=False)
    assert page.headers["Content-Security-Policy"].startswith("default-src 'self'")


def test_the_slim_set_suffices(bento: Path, tmp_path: Path) -> None:
    unpack(bento, tmp_path)
    # Keras imports some of these where they happen to be installed
    code = f"""
import sys
sys.modules.update(dict.fromkeys({sorted(TOO_MUCH)}))
from serving.service import Kinoflow
assert Kinoflow().bundle.labels == ("A", "B", "C")
import serving, kinoflow
print(serving.__file__, kinoflow.__file__)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path / "src",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert all(Path(name).is_relative_to(tmp_path) for name in done.stdout.split())


def test_sigterm_leaves_nothing_behind(bento: Path, tmp_path: Path) -> None:
    # as if an earlier one had been killed
    killed = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import os; from kinoflow.system import locks; from serving.__main__ import PREFIX\n"
            "with locks.temporary_folder(PREFIX, 'serving') as folder:\n"
            "    (folder / 'tmp').mkdir(); os.kill(os.getpid(), 9)",
        ],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "serving", "--bento", bento, "--port", str(port)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while "initialized" not in (line := process.stdout.readline()):
        assert line, "the server ended before it was ready"
    assert not left.exists()
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) >= 3
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
    _, alive = psutil.wait_procs(started, 1)
    assert not alive
    assert not list(tmp_path.iterdir())


def test_a_container_starts_the_same_server(bento: Path, tmp_path: Path) -> None:
    unpack(bento, tmp_path)
    start = tmp_path / "env" / "docker" / "entrypoint.sh"
    for arguments, expected in (
        ([], "serving.server --host 0.0.0.0 --port 4000"),
        (["serve"], "serving.server --host 0.0.0.0 --port 4000"),
        (["--allow-host", "a"], "serving.server --host 0.0.0.0 --port 4000 --allow-host a"),
        (["serve", "--port", "1"], "serving.server --host 0.0.0.0 --port 4000 --port 1"),
        (["echo", "-m", "other command"], "other command"),
    ):
        # tells what it would have started
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / "python").write_text('#!/bin/sh\necho "$PWD" "$@"\n')
        (tmp_path / "bin" / "python").chmod(0o755)
        told = subprocess.run(
            ["sh", start, *arguments],
            env={
                "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}",
                "BENTO_PATH": str(tmp_path),
                "PORT": "4000",
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        assert told.endswith(expected)
        assert told.startswith("-m" if arguments[:1] == ["echo"] else f"{tmp_path}/src -m")


@pytest.mark.parametrize("spoilt", ["src/kinoflow/video.py", "src/bundle/model.keras"])
def test_a_bento_that_cannot_start_is_not_tried_for_ever(
    bento: Path, tmp_path: Path, spoilt: str
) -> None:
    unpack(bento, tmp_path / "unpacked")
    (tmp_path / "unpacked" / spoilt).write_text("spoilt")
    broken = tmp_path / "broken.bento"
    with tarfile.open(broken, "w:xz", preset=0) as archive:
        archive.add(tmp_path / "unpacked", ".")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    done = subprocess.run(
        [sys.executable, "-m", "serving", "--bento", broken, "--port", port],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert Path(spoilt).name in done.stdout + done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: the server ended by itself")


def serve(folder: Path, *arguments: str) -> str:
    """The one line with which `python -m serving` refuses."""
    done = subprocess.run(
        [sys.executable, "-m", "serving", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    return line


def test_without_a_bento_it_says_how_to_make_one(tmp_path: Path) -> None:
    assert "make repro" in serve(tmp_path)


def test_a_port_that_is_taken_is_named(bento: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert port in serve(tmp_path, "--bento", str(bento), "--port", port)


def test_only_a_whole_bento_is_unpacked(bento: Path, tmp_path: Path) -> None:
    cut, text = tmp_path / "cut.bento", tmp_path / "text.bento"
    cut.write_bytes(bento.read_bytes()[:5000])
    text.write_text("no archive")
    for wrong in (cut, text, tmp_path / "missing.bento"):
        with pytest.raises(UserError, match=wrong.name):
            unpack(wrong, tmp_path / "unpacked")


def test_nothing_is_unpacked_outside_the_folder(tmp_path: Path) -> None:
    (tmp_path / "evil").write_text("evil")
    with tarfile.open(tmp_path / "evil.bento", "w:xz") as archive:
        archive.add(tmp_path / "evil", "../outside")
    with pytest.raises(UserError):
        unpack(tmp_path / "evil.bento", tmp_path / "a" / "b")
    assert not (tmp_path / "a" / "outside").exists()


def test_the_newest_bento_is_served(tmp_path: Path) -> None:
    for age, name in enumerate([".partial-1-new.bento", "new.bento", "old.bento"]):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    assert newest(tmp_path).name == "new.bento"


def test_settings_are_those_of_params_yaml(bento: Path, tmp_path: Path) -> None:
    unpack(bento, tmp_path)
    read = settings.load(tmp_path / "src" / "serving.json")
    assert (read.top_k, read.max_upload_mb) == (SERVING["top_k"], SERVING["max_upload_mb"])
    assert settings.load(tmp_path / "missing.json") == settings.Settings()
