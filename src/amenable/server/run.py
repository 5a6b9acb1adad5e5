"""Listening: the socket, and the web process until it is told to end."""

from __future__ import annotations

import errno
import socket

import uvicorn

from amenable.errors import ResourceError
from amenable.server.app import create_app
from amenable.server.settings import ServerSettings
from amenable.server.site import Site

GRACE_S = 5  # that open streams get when the server ends


def listen(settings: ServerSettings) -> socket.socket:
    """A socket on the host and port of the settings. Raises ResourceError that says why there is none."""
    where = f"{settings.host}:{settings.port}"
    host = settings.host.strip("[]")
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, settings.port, type=socket.SOCK_STREAM)[0]
    except OSError:
        raise ResourceError("the host to listen on is not known", where=where, mend="give an address of this machine") from None  # fmt: skip
    found = socket.socket(family, kind)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(address)
    except OSError as error:
        found.close()
        if error.errno == errno.EADDRINUSE:
            mend = "end what listens there, or choose another port: --port 8001"
            raise ResourceError("the port is in use", where=where, mend=mend) from None
        raise ResourceError(
            f"cannot listen: {error.strerror}", where=where, mend="choose another --host or --port"
        ) from None
    return found


def serve(site: Site, bound: socket.socket) -> None:
    """Answer requests until SIGINT or SIGTERM."""
    settings = site.settings
    config = uvicorn.Config(
        create_app(site),
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=settings.behind_tls,
        ssl_certfile=settings.tls_certificate or None,
        ssl_keyfile=settings.tls_key or None,
        timeout_graceful_shutdown=GRACE_S,
    )
    uvicorn.Server(config).run(sockets=[bound])
