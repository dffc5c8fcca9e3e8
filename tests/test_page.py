"""The page at / in a real browser, against the packed service."""

import csv
import io
import json
import re
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Route, expect

from tests.bento import Server
from tests.browsing import Visit, axe
from tests.media import ffmpeg

pytest_plugins = ["tests.bento_fixtures", "tests.browsing"]

HOSTILE = "=1+1 <img src=x onerror=alert(1)> \u202eفيديو.mp4"


@pytest.fixture
def visit(browser: Browser, server: Server) -> Iterator[Visit]:
    visit = Visit(browser, server)
    yield visit
    visit.context.close()


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a short video, one with a timeline, and one that is too long for a request."""
    folder = tmp_path_factory.mktemp("footage")
    for name, seconds in ((HOSTILE, 0.5), ("timeline.mp4", 4), ("long.mp4", 20)):
        # from black to white, so that no two moments look the same
        source = f"gradients=s=64x48:r=25:d={seconds}:c0=black:c1=white:speed=0.05"
        ffmpeg(
            *("-f", "lavfi", "-i", source, "-vf", f"fade=t=in:d={seconds}"),
            *("-pix_fmt", "yuv420p", folder / "made.mp4"),
        )
        (folder / "made.mp4").rename(folder / name)
    return folder


def seconds(band: Locator) -> float:
    return float(band.get_attribute("aria-valuenow") or "nan")


def widths(card: Locator) -> list[str]:
    return [str(bar.get_attribute("style")) for bar in card.locator(".fill").all()]


def test_a_video_that_browsers_cannot_play_is_answered_and_plays(
    visit: Visit, project: Path
) -> None:
    video = next((project / "data").rglob("*.avi"))  # Motion JPEG
    card = visit.add(video)
    expect(card.locator(".answer")).to_have_text(re.compile(r"^[ABC] \d+%$"))
    expect(card.locator(".bars li")).to_have_count(3)
    expect(card.locator("video")).to_have_js_property("videoWidth", 64)
    # too short for a timeline: one band with the answer
    expect(card.locator(".segment")).to_have_count(1)
    assert visit.problems == []


def test_a_timeline_is_sought_by_click_and_by_key_and_the_bars_follow(
    visit: Visit, footage: Path
) -> None:
    card = visit.add(footage / "timeline.mp4")
    band = card.get_by_role("slider")
    expect(band).to_have_attribute("aria-valuemax", "4.00")
    expect(card.locator("video")).to_have_js_property("readyState", 4)
    at_first = widths(card)
    box = band.bounding_box()
    assert box is not None
    band.click(position={"x": box["width"] * 0.75, "y": box["height"] / 2})
    expect(card.locator("video")).to_have_js_property("paused", True)
    assert card.locator("video").evaluate("video => video.currentTime") == pytest.approx(3, abs=0.1)
    assert seconds(band) == pytest.approx(3, abs=0.1)
    expect(card.locator(".now .time")).to_have_text(re.compile(r"^0:0[23]\.\d / 0:04\.0$"))
    assert widths(card) != at_first

    before = seconds(band)
    band.press("ArrowLeft")
    assert seconds(band) == pytest.approx(before - 0.12, abs=0.02)  # a quarter of a window
    band.press("Home")
    assert seconds(band) == 0
    deadline = time.monotonic() + 10
    while widths(card) != at_first:  # the bars follow once the video has got there
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert re.fullmatch(r"0:00\.0, [ABC]", str(band.get_attribute("aria-valuetext")))

    card.locator("video").evaluate("video => video.play()")
    expect(band).not_to_have_attribute("aria-valuenow", "0.00")
    with visit.page.expect_download() as download:
        card.get_by_role("button", name="Timeline as CSV").click()
    table = rows(download.value.path())
    assert [*table[0]] == ["start", "end", "label", "probability", "p_A", "p_B", "p_C"]
    assert len(table) > 8
    assert visit.problems == []


def rows(path: Path) -> list[dict[str, str]]:
    return [*csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""))]


def test_a_long_video_becomes_a_job_that_survives_a_broken_connection(
    visit: Visit, footage: Path
) -> None:
    def break_off(route: Route) -> None:
        route.abort("connectionrefused")

    visit.page.route("**/jobs/*", break_off)
    card = visit.add(footage / "long.mp4")
    notice = visit.page.locator("#connection")
    expect(notice).to_have_text(
        re.compile(r"There is no connection to the service: trying again in \d s\.")
    )
    visit.page.unroute("**/jobs/*", break_off)
    expect(card.get_by_role("slider")).to_have_attribute("aria-valuemax", "20.00")
    expect(card.get_by_role("button", name="Timeline as CSV")).to_be_visible()
    expect(notice).to_be_hidden()


def test_a_job_is_taken_up_again_after_a_reload(visit: Visit, footage: Path) -> None:
    with visit.page.expect_response(
        lambda response: response.url.endswith("/jobs") and response.status == 202
    ):
        visit.page.route("**/jobs/*", _as_running)
        visit.add(footage / "long.mp4")
    expect(visit.page.get_by_text("The timeline is being made: 50%")).to_be_visible()
    visit.page.reload()
    card = visit.page.locator("article", has_text="long.mp4")
    expect(card.get_by_text("The timeline is being made: 50%")).to_be_visible()
    visit.page.unroute("**/jobs/*", _as_running)
    band = card.get_by_role("slider")
    expect(band).to_have_attribute("aria-valuemax", "20.00")
    # there is no video to seek in, but the bars follow
    band.press("End")
    expect(band).to_have_attribute("aria-valuenow", "20.00")
    assert widths(card)
    with visit.page.expect_download() as download:
        card.get_by_role("button", name="Timeline as CSV").click()
    assert len(rows(download.value.path())) > 8
    # what was shown is not waited for again
    visit.page.reload()
    visit.page.wait_for_load_state("networkidle")
    expect(visit.page.locator("article")).to_have_count(0)
    assert visit.problems == []


def test_a_job_is_cancelled(visit: Visit, footage: Path, server: Server) -> None:
    with visit.page.expect_response(
        lambda response: response.url.endswith("/jobs") and response.status == 202
    ) as accepted:
        # it would be done before a person could press the button
        visit.page.route("**/jobs/*", _as_running)
        card = visit.add(footage / "long.mp4")
    card.get_by_role("button", name="Cancel").click()
    expect(card.get_by_text("The timeline was cancelled.")).to_be_visible()
    job = f"{server.url}/jobs/{accepted.value.json()['id']}"
    visit.page.wait_for_timeout(200)
    answer = httpx.get(job, trust_env=False)
    # forgotten, if it was done already
    assert answer.status_code == 404 or answer.json()["state"] == "cancelled"


def _as_running(route: Route) -> None:
    if route.request.method != "GET":
        route.continue_()
        return
    answer = route.fetch()
    job = {**answer.json(), "state": "running", "progress": 0.5, "result": None}
    route.fulfill(response=answer, body=json.dumps(job))


def test_what_goes_wrong_is_a_sentence(visit: Visit, footage: Path) -> None:
    dropped = visit.page.evaluate_handle(
        "text => { const drop = new DataTransfer();"
        " drop.items.add(new File([text], 'notes.txt')); return drop; }",
        "no video",
    )
    # beside the field for it
    visit.page.dispatch_event("h1", "drop", {"dataTransfer": dropped})
    card = visit.page.get_by_role("article", name="notes.txt")
    expect(card.locator(".error")).to_have_text(re.compile(r"^The upload .* no video.*\.$"))
    assert not card.get_by_role("button", name="Try again").is_visible()

    visit.page.route("**/predict", lambda route: route.abort("connectionreset"), times=1)
    card = visit.add(footage / HOSTILE)
    expect(card.locator(".error")).to_have_text(re.compile(r"no connection to the service\."))
    card.get_by_role("button", name="Try again").click()
    expect(card.locator(".answer")).to_have_text(re.compile(r"^[ABC] \d+%$"))


def test_a_busy_service_is_waited_for_and_a_key_is_asked_for(visit: Visit, footage: Path) -> None:
    keys = []

    def refuse_twice(route: Route) -> None:
        keys.append(route.request.headers.get("authorization"))
        if len(keys) == 1:
            headers = {"Retry-After": "1"}
            route.fulfill(status=429, headers=headers, json={"error": "all slots are taken"})
        elif len(keys) == 2:
            route.fulfill(status=401, json={"error": "this service demands a key"})
        else:
            route.continue_()

    visit.page.route("**/predict", refuse_twice)
    card = visit.add(footage / HOSTILE)
    expect(card.locator(".state")).to_have_text(re.compile(r"busy: trying again in \d s"))
    key = visit.page.get_by_label("Key")
    expect(key).to_be_focused()
    expect(visit.page.locator("#key-why")).to_have_text(re.compile(r"^This service asks for a key"))
    key.fill("open sesame")
    key.press("Enter")
    expect(card.locator(".answer")).to_have_text(re.compile(r"^[ABC] \d+%$"))
    assert keys == [None, None, "Bearer open sesame"]
    expect(key).to_be_hidden()


def test_feedback_is_kept_and_the_history_is_a_table(
    visit: Visit, footage: Path, server: Server
) -> None:
    card = visit.add(footage / HOSTILE)
    card.get_by_role("button", name="Wrong?").click()
    field = card.get_by_label("What does the video show?")
    expect(field).to_be_focused()
    field.fill("@home <b>")
    field.press("Enter")
    expect(card.get_by_text("It is noted as @home <b>.")).to_be_visible()
    (database,) = server.temporary.rglob("feedback.sqlite")
    with sqlite3.connect(database) as kept:
        assert ("@home <b>",) in kept.execute("SELECT proposed FROM feedback").fetchall()

    visit.page.reload()
    history = visit.page.locator("#history")
    expect(history.locator("tbody tr")).to_have_count(1)
    expect(history.locator("tbody")).to_contain_text(HOSTILE)
    with visit.page.expect_download() as download:
        visit.button("Download as CSV").click()
    (row,) = rows(download.value.path())
    # no spreadsheet takes them for a formula
    assert (row["video"], row["right_label"]) == (f"'{HOSTILE}", "'@home <b>")
    assert row["label"] in "ABC"
    visit.button("Forget them").click()
    expect(history).to_be_hidden()
    assert visit.page.evaluate("localStorage.length") == 0
    assert visit.problems == []


def test_an_explanation_plays(visit: Visit, footage: Path) -> None:
    card = visit.add(footage / "timeline.mp4")
    card.get_by_role("button", name="Explain").click()
    expect(card.get_by_role("button", name="Repaint")).to_be_hidden()  # no network is packed
    film = card.get_by_label(re.compile("^Evidence for [ABC]$"))
    expect(film).to_have_js_property("readyState", 4)
    expect(card.locator(".explanation p").first).to_have_text(
        re.compile(r"^Yellow places count much for [ABC], blue ones little \(.+\)\. Below, ")
    )
    assert visit.problems == []


def test_the_camera_is_answered_live(visit: Visit) -> None:
    visit.button("Use the camera").click()
    camera = visit.page.locator("#camera")
    expect(camera.locator(".answer")).to_have_text(re.compile(r"^[ABC] \d+%$"))
    expect(camera.locator(".bars li")).to_have_count(2)
    expect(
        camera.get_by_text(re.compile(r"From a picture to its answer: \d+ ms\."))
    ).to_be_visible()
    assert visit.problems == []
    camera.get_by_role("button", name="Stop").click()
    expect(camera).to_be_hidden()
    expect(visit.button("Use the camera")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_it_on_a_phone(
    browser: Browser, server: Server, footage: Path, scheme: str
) -> None:
    # axe is a script from elsewhere, which the page's policy would forbid
    phone = {"width": 390, "height": 800}
    visit = Visit(browser, server, viewport=phone, color_scheme=scheme, bypass_csp=True)
    try:
        card = visit.add(footage / HOSTILE, footage / "timeline.mp4")
        card.get_by_role("button", name="Wrong?").click()
        card.get_by_text(re.compile(r"\d+ segments?")).click()
        assert axe(visit.page) == {}
        sideways = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert visit.page.evaluate(sideways) == 0
        visit.button("Model card").click()
        expect(visit.page.get_by_role("dialog")).to_contain_text("75%")
        assert axe(visit.page) == {}
        assert visit.page.evaluate(sideways) == 0
    finally:
        visit.context.close()


def test_its_files_are_asked_for_again_only_when_they_change(server: Server) -> None:
    with httpx.Client(base_url=server.url, trust_env=False) as client:
        page = client.get("/")
        files = re.findall(r'(?:href|src)="(page/[^"]+)"', page.text)
        assert len(files) == 3
        for name in files:
            file = client.get(f"/{name}")
            tag = {"If-None-Match": file.headers["ETag"]}
            assert client.get(f"/{name}", headers=tag).status_code == 304
        assert client.get("/page/../service.py").status_code == 404
        assert client.get("/page/%2e%2e/service.py").status_code == 404
