"""POST /style: a short video comes back repainted, where the Bento holds a network for that."""

import io
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import av
import httpx
import numpy as np
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from playwright.sync_api import Browser, Locator, expect
from ruamel.yaml import YAML
from starlette.datastructures import UploadFile

from kinoflow import config
from kinoflow.bundle import library_versions
from kinoflow.style import fast, fast_training, pictures
from kinoflow.style.fast import About, FastStyle, Recipe
from kinoflow.style.network import transform_network
from kinoflow.system.errors import UserError
from kinoflow.workspace import Workspace
from serving import restyling, routes
from serving.admission import AdmissionControl
from serving.answering import Answering
from serving.refusals import Refusal
from serving.restyling import Restyling
from serving.uploads import Upload
from stages.package_assemble import assemble
from stages.package_card import card
from stages.package_reference import make
from tests.api_fixtures import SETTINGS
from tests.asgi import Client
from tests.bento import Server, make_project, package, serving
from tests.browsing import Visit, axe
from tests.children import nothing_runs
from tests.media import ffmpeg, moving_square, write_video

pytest_plugins = ["tests.api_fixtures", "tests.browsing"]


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a network that turns all it sees blue."""
    made = transform_network(4, 1)
    change = made.get_layer("change")
    kernel, bias = change.get_weights()
    change.set_weights([kernel, np.resize(np.array([-2, 0, 3], np.float32), bias.shape)])
    about = About(
        styles=("blue.png",),
        features="SqueezeNet",
        recipe=Recipe(),
        data="0",
        identity="0",
        versions=library_versions(),
        losses={},
    )
    path = tmp_path_factory.mktemp("network") / "blue.keras"
    fast_training.save(path, made, about)
    return path


@pytest.fixture(scope="session")
def style(network: Path) -> FastStyle:
    return fast.load(network)


@pytest.fixture
def repaints(answering: Answering, style: FastStyle) -> Restyling:
    return Restyling(answering, style)


@pytest.fixture
def asks(answering: Answering, repaints: Restyling) -> Client:
    """Asks a service that has a network."""
    application = routes.application(styled=True)
    application.state.answering, application.state.restyling = answering, repaints
    return Client(
        AdmissionControl(
            application,
            seconds=SETTINGS.timeout_s,
            slots=SETTINGS.max_concurrency,
            max_upload_mb=SETTINGS.max_upload_mb,
            uploads_mb=SETTINGS.uploads_mb,
        )
    )


def shown(film: bytes) -> np.ndarray:
    """The frames of a film, (T, H, W, 3)."""
    with av.open(io.BytesIO(film), "r") as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])


def upload(video: Path, seconds: float = 60) -> Upload:
    return Upload(UploadFile(io.BytesIO(video.read_bytes())), time.monotonic() + seconds)


def test_a_video_comes_back_as_the_network_paints_it(
    asks: Client, style: FastStyle, video: Path
) -> None:
    answer = asks("POST", "/style", files={"video": video.read_bytes()})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "video/mp4"
    assert len(answer.content) == int(answer.headers["content-length"])
    found = shown(answer.content).astype(int)
    with av.open(str(video)) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    frames = np.stack(decoded).astype(np.uint8)
    expected = style(pictures.to_floats(frames)) * 255
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 12
    assert found[..., 2].mean() > found[..., 0].mean() + 40
    assert nothing_runs()


def test_a_large_video_becomes_smaller_and_keeps_its_pace(asks: Client, tmp_path: Path) -> None:
    shades = np.broadcast_to(np.linspace(0, 255, 700).astype(np.uint8)[:, None], (30, 300, 700, 3))
    large = write_video(tmp_path / "large.avi", shades, fps=60)
    answer = asks("POST", "/style", files={"video": large.read_bytes()})
    frames = shown(answer.content)
    assert frames.shape == (15, 206, 480, 3)
    with av.open(io.BytesIO(answer.content), "r") as container:
        assert float(container.duration or 0) / 1e6 == pytest.approx(0.5, abs=0.1)


def test_a_video_that_is_not_short_and_what_is_no_video_are_refused(
    asks: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = write_video(tmp_path / "long.avi", moving_square(25, 16, 16), fps=1)
    answer = asks("POST", "/style", files={"video": long.read_bytes()})
    assert answer.status_code == 413
    assert answer.json()["error"] == "the video is longer than 20 s, the limit here"
    monkeypatch.setattr(restyling, "FRAMES", 10)
    many = write_video(tmp_path / "many.avi", moving_square(20, 16, 16))
    answer = asks("POST", "/style", files={"video": many.read_bytes()})
    assert answer.status_code == 413
    assert "more than 10 frames" in answer.json()["error"]
    answer = asks("POST", "/style", files={"video": b"no video" * 100})
    assert answer.status_code == 400
    assert "cannot be read as a video" in answer.json()["error"]
    assert asks("POST", "/style", content=b"no form").status_code == 400
    large = b"x" * round(SETTINGS.max_upload_mb * 1e6 + 1)
    assert asks("POST", "/style", files={"video": large}).status_code == 413


def test_it_ends_with_its_time_and_lets_one_video_after_the_other(
    repaints: Restyling, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint = repaints._style

    def slowly(frames: np.ndarray) -> np.ndarray:
        time.sleep(1)
        return paint(frames)

    with monkeypatch.context() as patch:
        patch.setattr(repaints, "_style", slowly)
        with pytest.raises(Refusal) as late:
            repaints.video(upload(video, 1.5))
    assert late.value.status in (503, 504)
    assert repaints._free.acquire(1)
    with pytest.raises(Refusal) as busy:
        repaints.video(upload(video, 0.3))
    assert busy.value.status == 503
    repaints._free.release()
    repaints.video(upload(video)).file.close()


def test_only_a_service_with_a_network_has_and_describes_it(ask: Client, asks: Client) -> None:
    assert ask("POST", "/style", files={"video": b"x"}).status_code == 404
    assert "/style" not in ask("GET", "/docs.json").json()["paths"]
    described = asks("GET", "/docs.json").json()
    OpenAPIV31SpecValidator(described).validate()
    answers = described["paths"]["/style"]["post"]["responses"]
    assert {"200", "400", "413", "429", "503", "504"} <= answers.keys()


# === Packing ===


def test_the_network_is_packed_and_another_file_is_refused(
    work_tree: Workspace, network: Path, tmp_path: Path
) -> None:
    bundle = work_tree.bundle("voting")
    settings = config.load(work_tree.params).serving
    parts = card(work_tree, "voting", bundle), make(work_tree, bundle)
    assemble(bundle, settings, *parts, tmp_path / "context", network)
    assert (tmp_path / "context/style.keras").read_bytes() == network.read_bytes()
    assemble(bundle, settings, *parts, tmp_path / "without")
    assert not (tmp_path / "without/style.keras").exists()
    with pytest.raises(UserError, match="no network for a style"):
        assemble(bundle, settings, *parts, tmp_path / "wrong", bundle / "model.keras")


@pytest.fixture(scope="module")
def painting(network: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Bento with a network, served."""
    folder = tmp_path_factory.mktemp("painting")
    workspace = Workspace(folder / "project")
    workspace.root.mkdir()
    make_project(workspace.root)
    yaml = YAML()
    params = yaml.load(workspace.params)
    params["serving"]["style"] = "blue"
    yaml.dump(params, workspace.params)
    workspace.style_network("blue").parent.mkdir(parents=True)
    shutil.copyfile(network, workspace.style_network("blue"))
    done = package(workspace.root)
    assert done.returncode == 0, done.stderr
    with serving(workspace.bento, folder) as server:
        yield server


def test_a_bento_with_a_network_repaints(painting: Server, video: Path) -> None:
    answer = httpx.post(
        f"{painting.url}/style",
        files={"video": (video.name, video.read_bytes())},
        timeout=60,
        trust_env=False,
    )
    assert answer.status_code == 200, answer.text
    with av.open(str(video)) as container:
        assert len(shown(answer.content)) == len([*container.decode(video=0)])
    assert "/style" in httpx.get(f"{painting.url}/docs.json", trust_env=False).json()["paths"]
    assert httpx.get(f"{painting.url}/model", trust_env=False).json()["style"] == "blue"


# === The page ===


@pytest.fixture(scope="module")
def dance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film that browsers play."""
    path = tmp_path_factory.mktemp("dance") / "dance.mp4"
    source = "gradients=s=192x108:r=25:d=2:c0=orange:c1=white:speed=0.05"
    ffmpeg(*("-f", "lavfi", "-i", source), *("-pix_fmt", "yuv420p", path))
    return path


def seconds(film: Locator) -> float:
    return float(film.evaluate("film => film.currentTime"))


def test_before_and_after_stand_side_by_side_and_play_together(
    browser: Browser, painting: Server, dance: Path
) -> None:
    visit = Visit(browser, painting)
    card = visit.add(dance)
    visit.button("Repaint").press("Enter")
    after = card.get_by_label("dance.mp4, repainted")
    before = card.get_by_label("dance.mp4, as it was sent")
    expect(before).to_be_visible()
    # in one go, since the page scrolls to them
    left, right = card.locator(".pair video").evaluate_all(
        "films => films.map((film) => film.getBoundingClientRect().toJSON())"
    )
    assert (left["y"], left["width"]) == (right["y"], right["width"])
    assert left["x"] < right["x"]
    expect(card.get_by_role("button", name="Pause")).to_be_visible()
    card.get_by_role("button", name="Pause").click()

    moment = card.get_by_role("slider", name="Moment")
    moment.press("End")
    expect(moment).to_have_attribute("aria-valuetext", "0:02.0")
    moment.press("Home")
    expect(moment).to_have_attribute("aria-valuetext", "0:00.0")
    for _ in range(3):
        moment.press("ArrowRight")  # a fortieth of the film
    expect(moment).to_have_attribute("aria-valuetext", "0:00.1")
    assert seconds(before) == seconds(after) == pytest.approx(0.15)

    with visit.page.expect_download() as download:
        card.get_by_role("button", name="Download the film").click()
    assert download.value.suggested_filename == "dance.blue.mp4"
    frames = shown(download.value.path().read_bytes())
    assert frames.shape == (50, 108, 192, 3)
    assert visit.problems == []
    visit.context.close()


def test_a_video_that_browsers_cannot_play_is_shown_by_its_copy(
    browser: Browser, painting: Server, video: Path
) -> None:
    visit = Visit(browser, painting)
    card = visit.add(video)  # Motion JPEG
    visit.button("Repaint").click()
    expect(card.get_by_label(f"{video.name}, repainted")).to_have_js_property("videoWidth", 64)
    before = card.get_by_label(f"{video.name}, as it was sent")
    expect(before).to_have_js_property("videoWidth", 64)
    assert visit.problems == []
    visit.context.close()


def test_what_is_not_repainted_is_a_sentence_and_it_can_be_cancelled(
    browser: Browser, painting: Server, dance: Path
) -> None:
    visit = Visit(browser, painting)
    card = visit.add(dance)
    refusal = {"error": "the video is longer than 20 s, the limit here"}
    visit.page.route("**/style", lambda route: route.fulfill(status=413, json=refusal), times=1)
    visit.button("Repaint").click()
    expect(card.locator(".repainting .error")).to_have_text(
        "It was not repainted: the video is longer than 20 s, the limit here."
    )
    visit.page.route("**/style", lambda route: None, times=1)  # it never ends
    visit.button("Repaint").click()
    card.get_by_role("button", name="Cancel").click()
    expect(card.locator(".repainting")).to_be_empty()
    visit.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_repaint_on_a_phone(
    browser: Browser, painting: Server, dance: Path, scheme: str
) -> None:
    phone = {"width": 390, "height": 800}
    # axe is a script from elsewhere, which the page's policy would forbid
    visit = Visit(browser, painting, viewport=phone, color_scheme=scheme, bypass_csp=True)
    card = visit.add(dance)
    visit.button("Repaint").click()
    expect(card.get_by_label("dance.mp4, as it was sent")).to_be_visible()
    assert axe(visit.page) == {}
    sideways = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert visit.page.evaluate(sideways) == 0
    visit.context.close()
