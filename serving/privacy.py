"""Pages of the service load nothing from other sites."""

from serving.asgi import App, Message, Receive, Send

_OWN_PAGES_ONLY = (
    b"content-security-policy",
    b"default-src 'self' 'unsafe-inline'; img-src 'self' data:",
)


class OwnPagesOnly:
    """ASGI middleware that forbids browsers to load anything for a page from another site.

    BentoML's page at / would otherwise load Google Tag Manager.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        async def send_with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), _OWN_PAGES_ONLY]
            await send(message)

        await self.app(scope, receive, send_with_policy)
