"""The command `kinoflow` as a user types it."""

import re
import sys

import av
import pytest

from kinoflow import cli
from kinoflow.models import registry


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["kinoflow", *arguments])
    with pytest.raises(SystemExit) as end:
        cli.main()
    return int(end.value.code or 0)


def test_doctor_tells_the_decoder_that_reads_videos_and_the_models_that_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "doctor") == 0
    found = dict(re.findall(r"^(\S+) +(.+)$", capsys.readouterr().out, re.MULTILINE))
    # OpenCV brings an FFmpeg of its own, which reads no file here
    assert found["ffmpeg"].startswith(f"{av.ffmpeg_version_info} in PyAV, libavcodec ")
    assert found["models"].split(", ") == list(registry.MODULES)
    assert found["av"] == av.__version__
    assert "cpu" in found["backend"].lower()
    assert found["disk"].endswith(" GB free")
