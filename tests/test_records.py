"""The JSON documents: what is written is read back, and anything else is refused in a line."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from kinoflow.reports import records
from kinoflow.reports.card import Card
from kinoflow.reports.check import Check
from kinoflow.reports.decision import Decision, Evidence
from kinoflow.reports.monitoring import Look
from kinoflow.reports.records import (
    CandidateScores,
    Choice,
    Document,
    Evaluated,
    Metrics,
    Proofs,
    Refit,
    ServiceSettings,
    Timing,
    TrainingTime,
    Verdict,
    Winner,
)
from kinoflow.system.errors import UserError
from tests import documents

# as version 0.1.0 wrote them before they were models: DVC's hashes go by these bytes
SCORES = """{
    "accuracy": 0.9,
    "accuracy_low": 0.8,
    "accuracy_high": 1.0,
    "top5": 1.0,
    "precision": 0.9,
    "recall": 0.9,
    "f1": 0.9,
    "auc": 0.95,
    "ece": 0.1,
    "ece_uncalibrated": 0.2
  }"""
FINDING = """{
      "table": "catalog",
      "expectation": "expect_column_values_to_be_between",
      "column": "fps",
      "severity": "warning",
      "meaning": "1 to 240 frames a second",
      "videos": [
        "A/v_A_g01_c01.avi"
      ],
      "count": 1
    }"""
CONTENDER = """{
    "version": "aaaa1",
    "candidate": "c3d",
    "accuracy": 0.5,
    "ece": 0.1,
    "latency_ms": 3.25,
    "size_mb": 1.5
  }"""
WRITTEN: dict[type[Document], str] = {
    Choice: """{
  "candidate": "lrcn",
  "form": "openvino_int8",
  "reason": "it is the fastest"
}
""",
    Decision: """{
  "verdict": "hold",
  "reasons": [
    "only 3 test clips are new to both models"
  ],
  "challenger": "bbbb2",
  "champion": "aaaa1",
  "decided": "2026-11-28 22:00:00 UTC",
  "until": "2026-12-01 22:00:00 UTC",
  "person": false
}
""",
    Evidence: f"""{{
  "champion": {CONTENDER},
  "challenger": {CONTENDER},
  "same_model": false,
  "clips": 9,
  "folds": false,
  "known": true,
  "left_out": 2,
  "unknown_clips": 3,
  "new_labels": [
    "C"
  ],
  "lost_labels": [],
  "confidence": 0.95,
  "difference": {{
    "clips": 4,
    "recordings": 2,
    "value": 0.25,
    "low": 0.0,
    "high": 0.5
  }},
  "recalls": [
    {{
      "label": "A",
      "found": 3,
      "clips": 4,
      "champion": 0.5
    }}
  ]
}}
""",
    Verdict: f"""{{
  "passed": true,
  "split": "stratified_group",
  "failures": [],
  "warnings": [
    {FINDING}
  ]
}}
""",
    TrainingTime: '{\n  "train_seconds": 60.0\n}\n',
    Metrics: f"""{{
  "val": {SCORES},
  "test": {SCORES},
  "parameters": 12345,
  "size_mb": 1.5,
  "epochs": 3,
  "temperature": 1.25
}}
""",
    Refit: f"""{{
  "refit": true,
  "candidate": "lrcn",
  "epochs": 3,
  "trained_on": [
    "train",
    "val"
  ],
  "clips": 40,
  "test": {SCORES}
}}
""",
    Proofs: """{
  "winner": "lrcn",
  "method": "gradcam",
  "pointing": {
    "clips": 9,
    "share": 0.75,
    "area": 0.25,
    "more": {
      "mean": 0.5,
      "low": 0.25,
      "high": 0.75
    }
  },
  "randomisation": [
    {
      "layers": [
        "probabilities"
      ],
      "similarity": {
        "mean": 0.5,
        "low": 0.25,
        "high": 0.75
      }
    }
  ],
  "space": {
    "clips": 9,
    "deletion": 0.25,
    "insertion": 0.75,
    "random": 0.5,
    "falls_faster": {
      "mean": 0.5,
      "low": 0.25,
      "high": 0.75
    },
    "returns_faster": {
      "mean": 0.5,
      "low": 0.25,
      "high": 0.75
    }
  }
}
""",
    Timing: '{\n  "latency_ms": 3.25,\n  "train_seconds": 60.0\n}\n',
    Evaluated: '{\n  "files": {\n    "metrics.json": "d41d8cd98f00b204e9800998ecf8427e"\n  }\n}\n',
    CandidateScores: f"""{{
  "val": {SCORES},
  "parameters": 12345,
  "size_mb": 1.5,
  "latency_ms": 3.25
}}
""",
    Winner: """{
  "winner": "lrcn",
  "reason": "lrcn wins with validation accuracy 0.900, with no rival; c3d is 50 MB, over 20",
  "metric": "val.accuracy",
  "score": 0.9,
  "against": {
    "c3d": {
      "score": 0.95,
      "refused": "is 50 MB, over 20"
    },
    "convlstm": {
      "score": 0.8
    }
  }
}
""",
    ServiceSettings: """{
  "top_k": 3,
  "max_upload_mb": 200.0,
  "timeout_s": 60.0,
  "max_concurrency": 8,
  "memory_mb": 2048,
  "decoders": 0,
  "state": ".serving",
  "state_mb": 2000.0,
  "keep_footage": false,
  "max_jobs": 16,
  "job_timeout_s": 3600.0,
  "job_hours": 24.0,
  "uploads_mb": 1600.0,
  "max_seconds": 7200.0,
  "max_frames": 500000,
  "max_megapixels": 36.0,
  "max_batch": 8,
  "batch_wait_ms": 2.0,
  "timeline_windows": 64,
  "max_live": 4,
  "requests_per_minute": 600,
  "sample": 5000,
  "sample_footage_mb": 0.0,
  "gpu_precision": "float32"
}
""",
    Look: """{
  "time": 1.5,
  "answers": 0,
  "clips": 0,
  "recordings": 0,
  "word": "no answers",
  "comparisons": [],
  "expectations": [],
  "changed": [],
  "since": {},
  "too_many_errors": false
}
""",
    Check: """{
  "device": "cpu:0",
  "videos": [
    {
      "file": "0.avi",
      "probabilities": {
        "A": 0.25,
        "B": 0.75
      }
    }
  ]
}
""",
    Card: """{
  "candidate": "c3d",
  "labels": [
    "A",
    "B"
  ],
  "clip": {
    "frames": 4,
    "height": 16,
    "width": 16,
    "sampling": "uniform",
    "padding": "repeat"
  },
  "clip_seconds": 2.4,
  "temperature": 1.25,
  "trained_on": [
    "train"
  ],
  "test": """
    + SCORES
    + """,
  "seed": 42,
  "data": "0123",
  "versions": {
    "keras": "3.15.1"
  },
  "commit": "4567",
  "changed": false
}
""",
}


@pytest.mark.parametrize("document", WRITTEN, ids=lambda document: document.__name__)
def test_a_document_keeps_its_bytes(document: type[Document], tmp_path: Path) -> None:
    path = tmp_path / "document.json"
    path.write_text(WRITTEN[document], encoding="utf-8")
    document.read(path).write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_text(encoding="utf-8") == WRITTEN[document]


def test_every_document_is_tried() -> None:
    assert {*WRITTEN} == {*Document.__subclasses__()}


@pytest.mark.parametrize("document", WRITTEN, ids=lambda document: document.__name__)
@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "Invalid JSON"),
        (b'{"winner": ', "Invalid JSON"),
        (b"\xff\xfe", "Invalid JSON"),
        (b"[1, 2]", "should be an object"),
        (b'{"zeta": 1}', "zeta|Field required"),
    ],
)
def test_a_damaged_or_foreign_document_names_the_stage_to_run_again(
    document: type[Document], text: bytes, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "document.json"
    path.write_bytes(text)
    with pytest.raises(UserError, match=why) as refused:
        document.read(path)
    line = str(refused.value)
    assert line.startswith(f"{path} is not what the stage {document.stage} writes: ")
    assert line.endswith("; run that stage again")
    assert "\n" not in line


def test_what_is_wrong_within_a_document_is_named(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    documents.metrics().write(path)
    spoilt = json.loads(path.read_text())
    del spoilt["test"]["f1"]
    spoilt["epochs"] = "many"
    path.write_text(json.dumps(spoilt))
    with pytest.raises(UserError, match=r"test\.f1: Field required \(and 1 more\)"):
        Metrics.read(path)


def test_a_wrong_value_is_shown_but_never_in_full(tmp_path: Path) -> None:
    path = tmp_path / "winner.json"
    path.write_text(json.dumps(["x" * 1000]))
    with pytest.raises(UserError, match=r"got \['x+\.\.\.; run") as refused:
        Winner.read(path)
    assert len(str(refused.value)) < 400


def test_a_score_that_is_no_number_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        documents.metrics(float("nan")).write(tmp_path / "metrics.json")
    assert not (tmp_path / "metrics.json").exists()


def test_reading_documents_takes_no_heavy_library() -> None:
    code = f"import sys, {records.__name__}; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"keras", "tensorflow", "pandas", "scipy", "sklearn", "dask", "ruamel", "cv2", "av"}
    assert not heavy & {*loaded}
