"""What `amenable serve` may be told, and what follows from it."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from msgspec import Meta

from amenable.errors import ConfigError
from amenable.types import Record

LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


class ServerSettings(Record, frozen=True):
    """Where the server listens, and its limits."""

    host: Annotated[str, Meta(description="address to listen on")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="0: any free one")] = 8000
    names: Annotated[tuple[str, ...], Meta(description="further host names that browsers may use for this server")] = ()
    tls_certificate: Annotated[str, Meta(description="PEM file; with a key the server speaks HTTPS")] = ""
    tls_key: Annotated[str, Meta(description="PEM file")] = ""
    behind_tls: Annotated[bool, Meta(description="a proxy in front speaks HTTPS: cookies are marked secure")] = False
    public_without_tls: Annotated[bool, Meta(description="listen beyond this machine although nothing encrypts")] = (
        False
    )
    max_body_bytes: Annotated[int, Meta(ge=1024, description="longest request, but for imports")] = 1 << 20
    max_import_bytes: Annotated[int, Meta(ge=1024, description="longest import")] = 64 << 20
    session_hours: Annotated[float, Meta(gt=0, description="a session ends so long after it was last used")] = 24.0
    session_days: Annotated[float, Meta(gt=0, description="a session ends so long after signing in, used or not")] = (
        14.0
    )

    @property
    def secure(self) -> bool:
        """Whether browsers reach this server by HTTPS alone."""
        return bool(self.tls_certificate) or self.behind_tls

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        host = self.host.strip("[]")
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    @property
    def hosts(self) -> frozenset[str]:
        """The names that a request's Host header may have; a name beyond them is another site's trick (DNS rebinding)."""
        own = self.host if ":" not in self.host or self.host.startswith("[") else f"[{self.host}]"
        return frozenset(name.lower() for name in (*LOCAL_NAMES, own, *self.names))

    @property
    def any_host(self) -> bool:
        """Listening on every address without a name given: any address of the machine is right."""
        return self.host in ("0.0.0.0", "::", "[::]") and not self.names

    def url(self, port: int) -> str:
        """Where a browser on this machine finds the server."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "[::]") else self.host
        host = f"[{host}]" if ":" in host and not host.startswith("[") else host
        return f"{'https' if self.tls_certificate else 'http'}://{host}:{port}"


def check(settings: ServerSettings) -> None:
    """Raise ConfigError for settings that would put people's passwords on the wire, or that contradict each other."""
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise ConfigError("a certificate and its key belong together", where="--tls-cert, --tls-key", mend="give both")
    if not (settings.is_local or settings.secure or settings.public_without_tls):
        raise ConfigError(
            "the server would listen beyond this machine without encryption: passwords could be read on the way",
            where=f"--host {settings.host}",
            mend="give --tls-cert and --tls-key, or --behind-tls where a proxy encrypts, or --public-without-tls if you"
            " accept it",
        )
