import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from distributed import Client

from kinoflow.config import Params
from kinoflow.data import clips
from kinoflow.data.clips import ClipStore
from kinoflow.system import cluster as compute_module
from kinoflow.system import files
from kinoflow.system.cluster import spread
from kinoflow.system.errors import UserError
from kinoflow.video import ClipSpec, decoder_version, sample
from stages import extract
from tests.media import footage, moving_square, write_video

SPEC = ClipSpec(4, 16, 24)


def catalog_of(data: Path) -> pd.DataFrame:
    videos = sorted(path.relative_to(data).as_posix() for path in data.rglob("*.avi"))
    return pd.DataFrame(
        {"video": videos, "md5": [files.md5(data / video) for video in videos], "readable": True}
    )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return footage(tmp_path / "data", groups=2)


@pytest.fixture
def run(tmp_path: Path, data: Path, defaults: Params):
    def extract_all(spec: ClipSpec = SPEC, table: pd.DataFrame | None = None) -> int:
        table = catalog_of(data) if table is None else table
        # one process to start, not one per core
        compute = defaults.compute.model_copy(update={"videos_per_task": 2, "workers": 1})
        return extract.extract(table, data, ClipStore(tmp_path / "clips"), spec, compute)

    return extract_all


def test_the_store_holds_what_sampling_gives(run, tmp_path: Path, data: Path) -> None:
    assert run() == 8
    for video in catalog_of(data)["video"]:
        stored = np.load(ClipStore(tmp_path / "clips").path(video))
        np.testing.assert_array_equal(stored, sample(data / video, SPEC))
    table = ClipStore(tmp_path / "clips").records()
    assert list(table["video"]) == list(catalog_of(data)["video"])
    assert set(table["spec"]) == {clips.describe(SPEC)}


def test_only_new_and_changed_videos_are_decoded(run, tmp_path: Path, data: Path) -> None:
    run()
    assert run() == 0
    for number in range(10):
        write_video(data / "A" / f"new{number}.avi", moving_square(6, seed=number))
    assert run() == 10
    write_video(data / "A" / "new3.avi", moving_square(6, seed=99))
    assert run() == 1
    np.testing.assert_array_equal(
        np.load(tmp_path / "clips" / "A" / "new3.avi.npy"), sample(data / "A" / "new3.avi", SPEC)
    )


@pytest.mark.parametrize(
    "other",
    [ClipSpec(4, 16, 32), replace(SPEC, sampling="motion"), replace(SPEC, padding="mask")],
)
def test_another_spec_decodes_all_again(run, tmp_path: Path, data: Path, other: ClipSpec) -> None:
    run()
    assert run(other) == 8
    assert run(other) == 0
    for video in catalog_of(data)["video"]:
        stored = np.load(ClipStore(tmp_path / "clips").path(video))
        np.testing.assert_array_equal(stored, sample(data / video, other))


def test_a_store_from_before_sampling_was_a_choice_is_kept(run, tmp_path: Path) -> None:
    run()
    table = ClipStore(tmp_path / "clips").records()
    assert set(table["spec"]) == {f"4x16x24 {decoder_version()}"}
    assert run(ClipSpec(4, 16, 24, "uniform", "repeat")) == 0


def test_a_video_that_takes_too_long_to_sample_says_what_to_raise(
    tmp_path: Path, defaults: Params
) -> None:
    data = footage(tmp_path / "data", groups=1, clips=1)  # each costs the process that reads it
    compute = defaults.compute.model_copy(update={"timeout_s": 0.001})
    with pytest.raises(UserError, match=r"longer than 0.001 s\): raise compute.timeout_s"):
        extract.extract(catalog_of(data), data, ClipStore(tmp_path / "clips"), SPEC, compute)


def test_clips_of_removed_videos_go(run, tmp_path: Path, data: Path) -> None:
    run()
    (data / "A" / "v_A_g01_c01.avi").unlink()
    assert run() == 0
    assert not (tmp_path / "clips" / "A" / "v_A_g01_c01.avi.npy").exists()
    assert len(ClipStore(tmp_path / "clips").records()) == 7


def test_a_lost_clip_is_made_again(run, tmp_path: Path) -> None:
    run()
    (tmp_path / "clips" / "A" / "v_A_g01_c01.avi.npy").unlink()
    assert run() == 1


def test_after_a_kill_only_the_unrecorded_are_repeated(run, tmp_path: Path) -> None:
    run()
    store = ClipStore(tmp_path / "clips")
    store.write_records(store.records().iloc[:5])
    half = tmp_path / "clips" / "A" / ".partial-1-x.npy"
    half.write_bytes(b"half a clip")
    assert run() == 3
    assert not half.exists()


def test_what_was_done_before_a_failure_is_kept(run, tmp_path: Path, data: Path) -> None:
    table = catalog_of(data)
    (data / "B" / "v_B_g02_c02.avi").write_bytes(b"spoilt meanwhile")
    with pytest.raises(UserError, match=r"1 videos decoded when .*v_B_g02_c02\.avi \(it is no"):
        run(table=table)
    assert len(ClipStore(tmp_path / "clips").records()) == 7
    write_video(data / "B" / "v_B_g02_c02.avi", moving_square(6))
    assert run() == 1


@pytest.fixture
def cluster(tmp_path: Path):
    """A Dask scheduler and two workers, each a process in a folder of its own."""
    (tmp_path / "elsewhere").mkdir()
    file = tmp_path / "scheduler.json"
    where = ["--no-dashboard", "--scheduler-file", str(file)]
    commands = [
        ["scheduler", "--host", "127.0.0.1", "--port", "0", *where],
        ["worker", "--nthreads", "1", "--no-nanny", *where],
        ["worker", "--nthreads", "1", "--no-nanny", *where],
    ]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "dask", *command],
            cwd=tmp_path / "elsewhere",
            stderr=subprocess.DEVNULL,
        )
        for command in commands
    ]
    yield processes, file
    for process in reversed(processes):
        process.kill()
        process.wait()


def test_a_dask_cluster_gives_the_same_bytes_even_if_a_worker_is_killed(
    run, cluster, tmp_path: Path, data: Path, defaults: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    footage(data, groups=20)
    run()
    (_, _, doomed), file = cluster
    deadline = time.monotonic() + 60
    while not file.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    values = {"dask_address": files.read_json(file)["address"], "videos_per_task": 2}
    compute = defaults.compute.model_copy(update=values)
    with Client(values["dask_address"]) as client:
        client.wait_for_workers(2, timeout=60)

    seen = 0

    def kill_in_the_middle(*arguments: Any, **more: Any) -> Iterator[Any]:
        nonlocal seen
        for seen, result in enumerate(spread(*arguments, **more), start=1):
            if seen == 10:
                doomed.kill()
            yield result

    monkeypatch.setattr(extract, "spread", kill_in_the_middle)
    monkeypatch.chdir(tmp_path)
    store = ClipStore(Path("clips2"))
    table = catalog_of(data)
    assert extract.extract(table, Path("data"), store, SPEC, compute) == len(table) == 80
    assert seen == 80
    assert doomed.wait(5) == -signal.SIGKILL
    assert files.folder_md5(tmp_path / "clips") == files.folder_md5(tmp_path / "clips2")
    assert Path("clips2.csv").read_bytes() == (tmp_path / "clips.csv").read_bytes()


def test_a_scheduler_that_does_not_answer_is_named(
    tmp_path: Path, data: Path, defaults: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compute_module, "_CONNECT_TIMEOUT", "1s")
    compute = defaults.compute.model_copy(update={"dask_address": "tcp://127.0.0.1:9"})
    with pytest.raises(UserError, match="no Dask scheduler answers at tcp://127.0.0.1:9"):
        extract.extract(catalog_of(data), data, ClipStore(tmp_path / "clips"), SPEC, compute)
