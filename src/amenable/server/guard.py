"""What stands before every request: its host, its size, and the headers that tell browsers to trust nothing else.

Plain ASGI, so that a body which is too long is refused while it arrives, not after.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import anyio.to_thread

from amenable.server.settings import ServerSettings

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; "
    "object-src 'none'; frame-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
"""The page may load what this server sends and nothing else: no script in the page, no picture from elsewhere."""
REPORT_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; font-src data:; "
    "frame-ancestors 'self'; base-uri 'none'; form-action 'none'; sandbox allow-scripts"
)
"""A report brings its own style and script. It runs in a sandbox without an origin, so it reaches no session."""
REPORT = re.compile(r"/api/runs/[^/]+/report")
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
LARGE = re.compile(r"/api/projects/[^/]+/(import|prompts)")
"""Routes that take whole files, from administrators alone."""


class Guard:
    """Wraps an app: wrong host, too long a body, and the answer's headers.

    may_import: whether who asks may send whole files; it may take a while. A body is read, and much of it parsed, before the
    app sees who asks: from anybody else a long one would stall the server.
    """

    def __init__(self, app: App, settings: ServerSettings, may_import: Callable[[Scope], bool]) -> None:
        self.app, self.settings, self.may_import = app, settings, may_import

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return
        headers = {name: value for name, value in scope["headers"]}
        send = self._with_headers(scope["path"], send)
        if not self._host_is_ours(headers.get(b"host", b"").decode("latin-1")):
            return await _refuse(send, 400, "this server is not known by that name: start it with --name NAME")
        told = headers.get(b"content-length")
        if told is not None and not told.isdigit():
            return await _refuse(send, 400, "the request's length is not a number")
        limit = await self._limit(scope, None if told is None else int(told))
        if told is not None and int(told) > limit:
            return await _refuse(send, 413, _too_long(limit))
        await self._counted(scope, receive, send, limit)

    async def _limit(self, scope: Scope, told: int | None) -> int:
        """How long the body may be. told: how long it is said to be."""
        usual = self.settings.max_body_bytes
        if LARGE.fullmatch(scope["path"]) is None or (told is not None and told <= usual):
            return usual
        may = await anyio.to_thread.run_sync(self.may_import, scope)
        return self.settings.max_import_bytes if may else usual

    async def _counted(self, scope: Scope, receive: Receive, send: Send, limit: int) -> None:
        """Run the app on a body that ends at the limit."""
        taken, begun, too_long = 0, False, False

        async def counting() -> Message:
            nonlocal taken, too_long
            message = await receive()
            taken += len(message.get("body", b""))
            too_long = too_long or taken > limit
            return {"type": "http.disconnect"} if too_long else message

        async def noting(message: Message) -> None:
            nonlocal begun
            if not too_long or begun:  # else what the app makes of a broken request goes nowhere
                begun = True
                await send(message)

        try:
            await self.app(scope, counting, noting)
        except Exception:
            if not too_long:
                raise
        if too_long and not begun:
            await _refuse(send, 413, _too_long(limit))

    def _host_is_ours(self, host: str) -> bool:
        name = re.sub(r":\d+$", "", host).lower()
        return self.settings.any_host or name in self.settings.hosts

    def _with_headers(self, path: str, send: Send) -> Send:
        is_report = REPORT.fullmatch(path) is not None
        own = {
            **HEADERS,
            "content-security-policy": REPORT_POLICY if is_report else POLICY,
            "x-frame-options": "SAMEORIGIN" if is_report else "DENY",
        }
        if self.settings.secure:
            own["strict-transport-security"] = "max-age=31536000"

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                there = {name.lower() for name, _ in message["headers"]}
                extra = own if b"cache-control" in there else {**own, "cache-control": "no-store"}
                message["headers"] = [
                    *message["headers"],
                    *((name.encode(), value.encode()) for name, value in extra.items()),
                ]
            await send(message)

        return sending


def _too_long(limit: int) -> str:
    return f"the request is longer than {limit:,} bytes; only imports of administrators who are signed in may be longer"


async def _refuse(send: Send, status: int, detail: str) -> None:
    body = json.dumps({"detail": detail, "field": None}).encode()
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
