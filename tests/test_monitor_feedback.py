"""What is read of the feedback that the service itself wrote."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest

from kinoflow.monitor import feedback as reading
from kinoflow.system.errors import UserError
from serving.answers import Answer, Milliseconds, Model
from serving.feedback import Feedback, Given

ODD = '<b>"é\u202e\n1e3'


def answer(number: int, bento: str = "v1", label: str = "A") -> Answer:
    return Answer(
        id=f"id{number}",
        label=label,
        confidence=0.75,
        top=[],
        probabilities={},
        milliseconds=Milliseconds(decode=0, inference=0),
        model=Model(candidate="lrcn", bento=bento, device="cpu:0"),
    )


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """Forty answers of v1, then ten of v2; some corrected, one of them twice, one confirmed."""
    kept = Feedback(tmp_path, 10**6)
    for number in range(50):
        kept.answered(answer(number, "v1" if number < 40 else "v2"))
    kept.keep(Given(answer="id0", label="B"))
    kept.keep(Given(answer="id1", label="A"))
    kept.keep(Given(answer="id41", label="B"))
    kept.keep(Given(answer="id41", label=ODD), BytesIO(b"video"))
    kept.keep(Given(answer="id42", label="B"))
    yield tmp_path
    kept.close()


def test_corrections_are_those_that_the_service_keeps_even_while_it_runs(state: Path) -> None:
    before = (state / reading.FILE).read_bytes()
    first, second, third = reading.corrections(state)
    assert (first.answer, first.given, first.proposed, first.footage) == ("id0", "A", "B", None)
    assert (second.answer, second.proposed, second.confidence) == ("id41", ODD, 0.75)
    assert second.footage
    assert second.footage.read_bytes() == b"video"
    assert (third.answer, third.bento) == ("id42", "v2")
    assert (state / reading.FILE).read_bytes() == before
    second.footage.unlink()
    assert reading.corrections(state)[1].footage is None


def test_rate_is_marks_per_answer_of_the_same_window_with_its_interval(state: Path) -> None:
    every = reading.error_rate(state, 1000)
    assert every
    assert (every.answers, every.wrong) == (50, 3)
    # Clopper and Pearson for 3 of 50
    assert (round(every.low, 4), round(every.high, 4)) == (0.0125, 0.1655)
    newest = reading.error_rate(state, 9)
    assert newest
    assert (newest.answers, newest.wrong) == (9, 2)
    second = reading.error_rate(state, 1000, "v2")
    assert second
    assert (second.answers, second.wrong) == (10, 2)
    assert second.exceeds(0.02)
    # two of ten could be chance
    assert not second.exceeds(0.1)
    assert "2 of the newest 10 answers were marked as wrong: 20.0%" in str(second)


def test_without_a_service_there_is_none_and_a_broken_file_is_one_line(tmp_path: Path) -> None:
    assert reading.corrections(tmp_path / "absent") == []
    assert reading.error_rate(tmp_path, 200) is None
    assert not [*tmp_path.iterdir()]
    (tmp_path / reading.FILE).write_bytes(b"no database" * 100)
    with pytest.raises(UserError, match="feedback"):
        reading.corrections(tmp_path)
