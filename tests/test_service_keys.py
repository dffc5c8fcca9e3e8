"""Who may use the service: keys, their scopes and rates, and when they are demanded."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from kinoflow.system.errors import UserError
from serving import keyring, keys
from serving.keys import Keys, WithKey
from serving.rates import Rates
from serving.refusals import Refusal
from tests.asgi import Client
from tests.conftest import ROOT

pytest_plugins = ["tests.api_fixtures"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def behind(file: Path, per_minute: int = 1000) -> Client:
    """An application that answers everything, behind the keys of a file."""

    async def reply(request: Request) -> PlainTextResponse:
        return PlainTextResponse("answered " + (await request.body()).decode())

    everything = Route("/{path:path}", reply, methods=["GET", "POST", "DELETE"])
    return Client(WithKey(Starlette(routes=[everything]), keys=Keys(file, per_minute)))


def status(ask: Client, method: str, path: str, **headers: str) -> int:
    answer = ask(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
    assert (answer.status_code == 200) == answer.text.startswith("answered")
    return answer.status_code


def test_a_key_opens_what_its_scopes_name(file: Path) -> None:
    predict, feedback = keyring.add(file, "p", ("predict",)), keyring.add(file, "f", ("feedback",))
    admin, both = keyring.add(file, "a", ("admin",)), keyring.add(file, "b", ("predict", "admin"))
    ask = behind(file)
    needed = {
        "predict": [
            *("POST /predict", "POST /predict_clip", "POST /explain", "POST /preview"),
            *("GET /model", "POST /jobs", "GET /jobs/1", "DELETE /jobs/1"),
        ],
        "feedback": ["POST /feedback"],
        # and whatever nobody has thought of
        "admin": ["GET /metrics", "GET /jobs", "GET /new", "POST /predict/"],
    }
    given = {"predict": (predict, both), "feedback": (feedback,), "admin": (admin, both)}
    for scope, asked in needed.items():
        for each in asked:
            for key in (predict, feedback, admin, both):
                expected = 200 if key in given[scope] else 403
                assert status(ask, *each.split(), Authorization=f"Bearer {key}") == expected, each
            assert status(ask, *each.split()) == 401
    for path in ("/", "/page/style.css", "/livez", "/readyz", "/docs.json"):
        assert status(ask, "GET", path) == 200


def test_both_headers_and_no_other_form_are_taken(file: Path) -> None:
    key = keyring.add(file, "anna", ("predict",))
    ask = behind(file)
    for headers in (
        {"Authorization": f"Bearer {key}"},
        {"Authorization": f"bearer  {key} "},
        {"X_API_Key": key},
    ):
        assert status(ask, "GET", "/model", **headers) == 200
    for wrong in ("", key[:-1], key + "x", key.upper(), "ä", "x" * 5000, keyring.digest(key)):
        for headers in (
            {"Authorization": f"Bearer {wrong}".encode("latin-1").decode("latin-1")},
            {"X_API_Key": wrong},
        ):
            encoded = {k.replace("_", "-"): v.encode("latin-1") for k, v in headers.items()}
            answer = ask("GET", "/model", headers=encoded)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.json()["error"]
    assert status(ask, "GET", "/model", Authorization=f"Basic {key}") == 401
    assert status(ask, "GET", f"/model?key={key}&api_key={key}") == 401


def test_a_refusal_does_not_wait_for_the_body(file: Path) -> None:
    keyring.add(file, "anna", ("predict",))

    async def body():
        raise AssertionError("the body was asked for")
        yield b""

    ask = behind(file)
    assert ask("POST", "/predict", content=body()).status_code == 401


def test_changes_of_the_file_hold_at_once(file: Path) -> None:
    first = keyring.add(file, "first", ("predict",))
    held = Keys(file, 1000)
    second = keyring.add(file, "second", ("predict",))
    held.check(second, "predict")
    keyring.remove(file, "first")
    held.check(second, "predict")
    assert refused(held, first) == 401
    whole = file.read_text()
    # nobody is let in by a file that cannot be read; a restart is not needed after it was mended
    for spoilt in ("", "{", whole.replace("predict", "everything")):
        file.write_text(spoilt)
        assert refused(held, second) == 503
    file.unlink()
    assert refused(held, second) == 503
    keyring.add(file, "third", ("predict",))
    file.write_text(whole)
    held.check(second, "predict")


def refused(held: Keys, key: str | None) -> int:
    with pytest.raises(Refusal) as refusal:
        held.check(key, "predict")
    return refusal.value.status


def test_the_file_holds_no_key_and_is_for_its_user_alone(file: Path) -> None:
    before = os.umask(0)
    try:
        made = [keyring.add(file, name, ("predict",)) for name in ("anna", "bob@example.com")]
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not [key for key in made if key in file.read_text() or len(key) < 43]
    assert made[0] != made[1]
    assert {each.name: each.scopes for each in keyring.read(file).keys} == {
        "anna": ("predict",),
        "bob@example.com": ("predict",),
    }
    file.chmod(0o660)
    with pytest.raises(UserError, match="chmod 600"):
        keyring.read(file)
    # a file from elsewhere that only its owner can change may be read by others
    file.chmod(0o444)
    assert len(keyring.read(file).keys) == 2


def test_each_key_has_its_own_rate_and_is_told_when_to_come_back(file: Path) -> None:
    anna, bob = (keyring.add(file, name, ("predict",)) for name in ("anna", "bob"))
    ask = behind(file, per_minute=3)
    assert [status(ask, "GET", "/model", X_API_Key=anna) for _ in range(3)] == [200] * 3
    answer = ask("GET", "/model", headers={"X-API-Key": anna})
    assert answer.status_code == 429
    # a token every 20 s
    assert answer.headers["retry-after"] in {"19", "20"}
    assert f"{answer.headers['retry-after']} s" in answer.json()["error"]
    assert status(ask, "GET", "/model", X_API_Key=bob) == 200
    assert status(ask, "GET", "/livez", X_API_Key=anna) == 200


def test_after_the_seconds_that_were_told_there_is_a_token() -> None:
    now = [0.0]
    rates = Rates(90, clock=lambda: now[0])
    sent = 0
    while now[0] < 600:
        wait = rates.take("anna")
        sent += not wait
        now[0] += wait
        assert not wait or not rates.take("anna")
        sent += bool(wait)
    # a full bucket, and what was refilled in ten minutes
    assert 90 + 900 - 2 <= sent <= 90 + 900 + 2
    for number in range(1000):
        rates.take(str(number))
    rates.keep({"anna", "7"})
    assert rates._buckets.keys() == {"anna", "7"}


def test_others_than_this_machine_are_served_with_keys_alone(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(keys.VARIABLE, raising=False)
    for ip in ("127.0.0.1", "127.8.8.8", "::1"):
        assert keys.choose(ip, None, None, without=False) == ""
    for ip in ("::", "192.168.1.5", "2001:db8::1"):
        with pytest.raises(UserError, match=r"serving\.keys --keys keys\.json add .* --without"):
            keys.choose(ip, None, None, without=False)
        assert keys.choose(ip, file, str(file), without=True) == ""
    keyring.add(file, "anna", ("predict",))
    # the command's before the environment's before the setting's, and demanded on this machine too
    assert keys.choose("127.0.0.1", None, str(file), without=False) == str(file)
    monkeypatch.setenv(keys.VARIABLE, str(file))
    assert keys.choose("::", None, "other.json", without=False) == str(file)
    with pytest.raises(UserError, match="no file of keys .*other.json: make a key with"):
        keys.choose("::", Path("other.json"), None, without=False)


def test_commands_make_tell_and_remove_keys(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["keys", *arguments])
        keys.main()
        return capsys.readouterr().out

    monkeypatch.chdir(file.parent)
    monkeypatch.delenv(keys.VARIABLE, raising=False)
    with pytest.raises(UserError, match="name the file"):
        command("list")
    key = command(
        "--keys", str(file), *["add", "anna", *["--scope", "predict", "--scope", "feedback"]]
    )
    key = key.removesuffix("\n")
    Keys(file, 5).check(key, "feedback")
    monkeypatch.setenv(keys.VARIABLE, str(file))
    assert "predict, feedback" in command("list")
    assert key not in command("list", "--keys", str(file))
    for wrong in (["add", "anna", "--scope", "admin"], ["add", "a\nb", "--scope", "admin"]):
        with pytest.raises(UserError, match="name"):
            command(*wrong)
    with pytest.raises(UserError, match="it has: anna"):
        command("remove", "bob")
    command("remove", "anna")
    assert command("list") == ""


def test_make_serve_says_how_to_open_it(tmp_path: Path) -> None:
    recipe = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "serve", "HOST=0.0.0.0", "KEYS=keys.json"],
        cwd=ROOT,
        env={**os.environ, "HOST": "of a shell"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "serving --host 0.0.0.0 --port 3000 --keys keys.json" in recipe
