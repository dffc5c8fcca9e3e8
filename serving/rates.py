"""How many requests a client may send: a token bucket (Turner, 1986) for each."""

import math
import time
from collections.abc import Callable, Collection


class Rates:
    """The token buckets of clients, each of which may send so many requests a minute.

    A bucket holds at most the tokens of a minute: so many requests may come at once, and after
    that as many as are refilled.

    Args:
        per_minute: requests of one client.
        clock: seconds.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(per_minute)
        self._per_second = per_minute / 60
        self._clock = clock
        # a client without one has a full one
        self._buckets: dict[str, tuple[float, float]] = {}  # tokens, and when they were counted

    def take(self, client: str) -> int:
        """Take a token of a client; 0, or in how many whole seconds there will be one."""
        now = self._clock()
        tokens, counted = self._buckets.get(client, (self._most, now))
        tokens = min(self._most, tokens + (now - counted) * self._per_second)
        if tokens < 1:
            return max(1, math.ceil((1 - tokens) / self._per_second))
        self._buckets[client] = (tokens - 1, now)
        return 0

    def keep(self, clients: Collection[str]) -> None:
        """Forget all other clients."""
        self._buckets = {name: self._buckets[name] for name in clients if name in self._buckets}
