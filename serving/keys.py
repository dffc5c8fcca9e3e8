"""Keys of the service: `python -m serving.keys add NAME --scope predict`, `list`, `remove NAME`."""

import argparse
import hmac
import ipaddress
import logging
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from starlette.datastructures import Headers

from kinoflow.system.errors import UserError, run
from serving import keyring
from serving.asgi import OWN, App, Message, Receive, Send
from serving.keyring import SCOPES, Key, Scope
from serving.rates import Rates
from serving.refusals import Refusal, answer

VARIABLE = "KINOFLOW_API_KEYS_FILE"  # names the file, instead of the setting; "": no keys

_OPEN = {"/", "/livez", "/readyz", "/healthz", "/docs.json", "/favicon.ico"}
_PREDICT = {"/predict", "/predict_clip", "/explain", "/preview", "/style", "/live", "/model"}
_log = logging.getLogger("bentoml.kinoflow")


class Keys:
    """The keys in a file, which is read again when it changes.

    Args:
        path: the file.
        per_minute: how many requests may come with one key.

    Raises UserError as `keyring.read` does.
    """

    def __init__(self, path: Path, per_minute: int) -> None:
        self._path = path
        self._rates = Rates(per_minute)
        self._reading = threading.Lock()
        self._stamp = _stamp(path)
        self._keys: tuple[Key, ...] | None = keyring.read(path).keys  # None: they cannot be read

    def check(self, key: str | None, scope: Scope) -> None:
        """Let a request pass, or a websocket, which counts as one.

        Args:
            key: what the client has sent.
            scope: what the key must be for.

        Raises Refusal: 401 without a key of the file, 403 for one without the scope, 429 for one
        with which too many requests come, 503 while the file cannot be read.
        """
        known = self._known()
        if not key:
            raise Refusal(
                401,
                "this needs a key: send it in the header Authorization: Bearer KEY",
                reason="no key",
                headers={"WWW-Authenticate": 'Bearer realm="kinoflow"'},
            )
        sent, found = keyring.digest(key), None
        for each in known:
            # all of them, so that the time tells nothing about which one it is
            if hmac.compare_digest(each.sha256, sent):
                found = each
        if found is None:
            raise Refusal(
                401,
                "this key is not known here",
                reason="unknown key",
                headers={"WWW-Authenticate": 'Bearer realm="kinoflow", error="invalid_token"'},
            )
        if scope not in found.scopes:
            raise Refusal(
                403,
                f"this key is not for that: it would need the scope {scope}",
                reason="scope of the key",
            )
        with self._reading:
            seconds = self._rates.take(found.name)
        if seconds:
            raise Refusal(
                429,
                f"too many requests with this key: try again in {seconds} s",
                reason="rate of the key",
                headers={"Retry-After": str(seconds)},
            )

    def _known(self) -> tuple[Key, ...]:
        with self._reading:
            stamp = _stamp(self._path)
            if stamp != self._stamp:
                self._stamp, self._keys = stamp, None
                try:
                    self._keys = keyring.read(self._path).keys
                except UserError as error:
                    _log.error("nobody is let in: %s", error)
                else:
                    self._rates.keep({each.name for each in self._keys})
                    _log.info("the keys were read again: there are %d", len(self._keys))
            keys = self._keys
        if keys is None:
            raise Refusal(503, "the keys of this service cannot be read just now", reason="keys")
        return keys


def _stamp(path: Path) -> tuple[int, ...] | None:
    """What changes when a file does; None: there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size


class WithKey:
    """ASGI middleware that demands a key, before anything of a request's body is read.

    The key of a websocket comes in its first message, which its route has checked.

    Args:
        app: the application.
        keys: the keys; None: everybody may send everything.
    """

    def __init__(self, app: App, *, keys: Keys | None) -> None:
        self.app = app
        self.keys = keys

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if self.keys is not None and scope["type"] == "http" and not scope.get(OWN):
            needed = needs(scope["method"], scope["path"])
            if needed is not None:
                try:
                    self.keys.check(sent(Headers(scope=scope)), needed)
                except Refusal as refusal:
                    await answer(refusal)(scope, receive, send)
                    return
        await self.app(scope, receive, send)


def needs(method: str, path: str) -> Scope | None:
    """The scope that a request needs; None: not even a key. A path that is not known needs
    `admin`."""
    if path in _OPEN or path.startswith("/page/"):
        return None
    if path in _PREDICT or path.startswith("/jobs/") or (path == "/jobs" and method == "POST"):
        return "predict"
    return "feedback" if path == "/feedback" else "admin"


def sent(headers: Headers) -> str | None:
    """The key that a request comes with."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return key.strip()
    return headers.get("x-api-key")


def file(setting: str | None) -> Path | None:
    """The file of keys: the one that the environment names, or the setting's; None: no keys."""
    name = os.environ.get(VARIABLE, setting)
    return Path(name).absolute() if name else None


def choose(ip: str, given: Path | None, setting: str | None, *, without: bool) -> str:
    """The value of `VARIABLE` for a service that will listen at an address.

    Args:
        ip: the address.
        given: the file of keys that the user names on the command line.
        setting: the file that the settings name, where neither the user nor the environment does.
        without: whether the user wants to go without keys.

    Raises UserError for an address that others can reach without keys, and for a file of keys
    that cannot be read.
    """
    found = None if without else given.absolute() if given else file(setting)
    if found is not None:
        keyring.read(found)
    elif not (without or _is_this_machine(ip)):
        raise UserError(
            f"at {ip} others can reach the service, so it needs keys: make one with "
            f"`{keyring.command('keys.json')}` and add --keys keys.json, or add --without-keys if "
            "a proxy in front of it asks who they are"
        )
    return str(found or "")


def _is_this_machine(ip: str) -> bool:
    try:
        return ipaddress.ip_address(ip).is_loopback
    except ValueError:
        return ip == "localhost"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Have a command that starts a service take --keys and --without-keys."""
    parser.add_argument(
        "--keys",
        type=Path,
        metavar="FILE",
        help="demand one of the keys in this file, which `python -m serving.keys` writes; default: "
        f"{VARIABLE} in the environment, or the setting serving.api_keys_file",
    )
    parser.add_argument(
        "--without-keys",
        action="store_true",
        help="demand none, even if others can reach the service: for one behind a proxy that asks "
        "who they are",
    )


def _default() -> Path:
    """The file if the command names none."""
    from kinoflow import config
    from kinoflow.workspace import Workspace

    params = Workspace().params
    found = file(config.load(params).serving.api_keys_file if params.exists() else None)
    if found is None:
        raise UserError(
            f"name the file of keys: --keys keys.json, {VARIABLE}, or serving.api_keys_file in "
            "params.yaml"
        )
    return found


def main() -> None:
    of_all = argparse.ArgumentParser(add_help=False)
    of_all.add_argument(
        "--keys",
        type=Path,
        # with which a command does not undo what stands before it
        default=argparse.SUPPRESS,
        metavar="FILE",
        help=f"default: {VARIABLE} in the environment, or serving.api_keys_file in params.yaml",
    )
    parser = argparse.ArgumentParser(
        prog="python -m serving.keys", description="Keys of a service", parents=[of_all]
    )
    commands = parser.add_subparsers(dest="command", required=True)
    adding = commands.add_parser("add", parents=[of_all], help="make a key and print it, this once")
    adding.add_argument("name", help="whose key it is")
    adding.add_argument(
        "--scope",
        action="append",
        required=True,
        choices=SCOPES,
        help="what it is for: predict (all answers, jobs and live), feedback, admin (metrics, the "
        "list of jobs); may be given several times",
    )
    commands.add_parser("list", parents=[of_all], help="tell names, scopes and dates")
    removing = commands.add_parser("remove", parents=[of_all], help="remove a key")
    removing.add_argument("name", help="whose key it is")
    arguments = parser.parse_args()
    path: Path = getattr(arguments, "keys", None) or _default()
    command: Literal["add", "list", "remove"] = arguments.command
    if command == "add":
        print(keyring.add(path, arguments.name, tuple(dict.fromkeys(arguments.scope))))
    elif command == "remove":
        keyring.remove(path, arguments.name)
    else:
        for key in keyring.read(path).keys:
            day = datetime.fromtimestamp(key.added, UTC).date()
            print(f"{key.name:20} {day} {', '.join(key.scopes)}")


if __name__ == "__main__":
    run(main)
