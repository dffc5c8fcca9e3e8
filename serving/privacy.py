"""Headers that tell browsers to keep the service's pages and answers to themselves."""

from serving.asgi import App, Message, Receive, Send

# no other site is loaded from, no script or style within a page is run, and no site may frame it
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
# what a page may ask the browser for: the camera, for the service's own page
_NONE = ("microphone", "geolocation", "display-capture", "payment", "usb", "serial", "midi")
_PERMISSIONS = ", ".join(["camera=(self)", *(f"{name}=()" for name in _NONE)])

HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "permissions-policy": _PERMISSIONS,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_SENT = [(name.encode("ascii"), value.encode("ascii")) for name, value in HEADERS.items()]
_NAMES = {name for name, _ in _SENT}


class PrivateAnswers:
    """ASGI middleware that puts these headers on every answer.

    There is none that allows the pages of other sites to read an answer (CORS), and so browsers
    let them read none.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            # the second is that of a websocket that is refused
            if message["type"] in {"http.response.start", "websocket.http.response.start"}:
                given = message.get("headers", ())
                others = [header for header in given if header[0].lower() not in _NAMES]
                message["headers"] = [*others, *_SENT]
            await send(message)

        await self.app(scope, receive, send_with_headers)
