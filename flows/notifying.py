"""Tell people what happened, by those notification blocks of Prefect that params.yaml names."""

import contextvars
import logging
import threading
import time

import prefect.blocks.notifications  # noqa: F401, which registers the blocks that Prefect has
from httpx import HTTPStatusError
from prefect import get_run_logger
from prefect.blocks.abstract import NotificationBlock, NotificationError
from prefect.blocks.core import Block
from prefect.exceptions import MissingContextError
from prefect.logging import get_logger
from pydantic import ValidationError

from kinoflow.config import Event, Notify

_WITHIN = 15.0  # seconds that all blocks together may take; a run does not wait for longer


def notify(event: Event, subject: str, text: str, settings: Notify) -> None:
    """Send a message by each block, all at the same time.

    A block that fails, or takes longer than 15 seconds, is a warning in the log of the run. It
    never ends the run. The warning holds no address, because that of a webhook is a secret.

    Args:
        event: what happened. Only events in `settings.events` are sent.
        subject: the message in a few words.
        text: the message.
        settings: the section `notify` of params.yaml.
    """
    if event not in settings.events or not settings.blocks:
        return
    failed: dict[str, str | None] = {}

    def send(name: str) -> None:
        failed[name] = _send(name, subject, text)

    threads = []
    for name in settings.blocks:
        # with a copy of the context, which holds the settings that say where the server is
        context = contextvars.copy_context()
        # a daemon, so that a block that hangs does not keep the process from ending
        thread = threading.Thread(target=context.run, args=(send, name), daemon=True)
        thread.start()
        threads.append(thread)
    deadline = time.monotonic() + _WITHIN
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    for name in settings.blocks:
        if why := failed.get(name, f"it has not ended within {_WITHIN:.0f} seconds"):
            logger().warning("notify.blocks: %s did not send %r: %s", name, subject, why)


def logger() -> "logging.Logger | logging.LoggerAdapter[logging.Logger]":
    """The log of the run that calls this; outside a run, a log of the process."""
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("kinoflow")


def _send(name: str, subject: str, text: str) -> str | None:
    """Send the message by one block; return why that failed, or None."""
    if "/" not in name:
        return "blocks are named type/name, such as slack-webhook/operations"
    try:
        block = Block.load(name)
        if not isinstance(block, NotificationBlock):
            return "it is no notification block"
        with block.raise_on_failure():
            block.notify(text, subject)  # type: ignore[unused-coroutine]
    except HTTPStatusError as error:
        return f"it got status {error.response.status_code}"
    except NotificationError:
        return "its service did not accept the message"
    except ValidationError:
        return "what is saved of it is not valid: save it again"
    except ValueError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001
        # whatever a block of somebody else raises
        return type(error).__name__
    return None
