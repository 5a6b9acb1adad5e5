"""What stands before every route: hosts, sizes, headers, the front end's files, and where the server may listen."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from amenable.config.folder import init_workspace
from amenable.errors import ConfigError, ResourceError
from amenable.server.run import listen
from amenable.server.settings import ServerSettings, check
from amenable.server.site import Site
from tests.server_makers import browser, client_of, site, wait_for

__all__ = ["site"]
MEBIBYTE = 1 << 20


def test_every_answer_carries_the_headers(site: Site) -> None:
    for path in ("/api/health", "/api/nothing", "/", "/assets/none.js"):
        headers = client_of(site).get(path).headers
        assert "script-src 'self';" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "DENY" and headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


def test_another_host_name_is_refused(site: Site) -> None:
    client = client_of(site)
    assert client.get("/api/health", headers={"host": "evil.example:8000"}).status_code == 400
    assert client.get("/api/health", headers={"host": "localhost:8000"}).status_code == 200


def test_a_long_request_is_refused_before_it_is_read(site: Site) -> None:
    client = client_of(site)
    told = client.post("/api/health", content=b"x", headers={"content-length": str(1 << 30)})
    assert told.status_code == 413
    assert client.post("/api/sign-in", content=b"x" * (MEBIBYTE + 1)).status_code == 413


def test_only_administrators_send_whole_files(site: Site) -> None:
    path, body = "/api/projects/1/prompts", b'{"prompts": [%s]}' % (b"{}," * (MEBIBYTE // 2))
    headers = {"content-type": "application/json"}
    boss, labeler = browser(site, "administrator"), browser(site, "labeler")
    bearers = []
    for person in (boss, labeler):
        secret = person.post("/api/tokens", {"name": "a"}).json()["token"]
        bearers.append({"authorization": f"Bearer {secret}"})
    strangers = (client_of(site), labeler.client)
    assert [c.post(path, content=body, headers=headers).status_code for c in strangers] == [413, 413]
    in_pieces = client_of(site).post(path, content=iter([body]), headers=headers)
    assert in_pieces.status_code == 413 and "only imports of administrators" in in_pieces.json()["detail"]
    assert boss.client.post(path, content=body, headers={**headers, "x-csrf-token": boss.csrf}).status_code == 422
    sent = [client_of(site).post(path, content=body, headers={**headers, **bearer}) for bearer in bearers]
    assert [answer.status_code for answer in sent] == [422, 413]


def test_the_front_end(site: Site, tmp_path: Path) -> None:
    assert "make web" in client_of(site).get("/").text
    static = tmp_path / "static"
    (static / "assets").mkdir(parents=True)
    (static / "index.html").write_text("<!doctype html>front")
    (static / "favicon.svg").write_text("<svg/>")
    (static / "assets" / "a-1.js").write_text("1")
    (tmp_path / "secret.txt").write_text("secret")
    client = client_of(site, static=static)
    for path in ("/", "/label/3", "/invite/x.y"):
        assert client.get(path).text == "<!doctype html>front"
    assert client.get("/favicon.svg").text == "<svg/>"
    assert "immutable" in client.get("/assets/a-1.js").headers["cache-control"]
    assert client.get("/api/nothing").status_code == client.get("/v1/nothing").status_code == 404
    for path in ("/assets/%00", "/%00.svg", f"/assets/{'x' * 5000}", f"/{'x' * 5000}.svg"):
        assert client.get(path).status_code in (200, 404), path
    for path in ("/assets/../../secret.txt", "/assets/%2e%2e/%2e%2e/secret.txt", "/..%2fsecret.txt", "//etc/passwd"):
        assert "secret" not in client.get(path).text and "root:" not in client.get(path).text


def test_no_listening_in_public_without_encryption() -> None:
    check(ServerSettings())
    check(ServerSettings(host="::1"))
    check(ServerSettings(host="0.0.0.0", behind_tls=True))
    check(ServerSettings(host="0.0.0.0", public_without_tls=True))
    with pytest.raises(ConfigError, match="without encryption"):
        check(ServerSettings(host="0.0.0.0"))
    with pytest.raises(ConfigError, match="belong together"):
        check(ServerSettings(tls_certificate="a.pem"))


def test_a_port_in_use_is_named() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ResourceError, match="in use"):
            listen(ServerSettings(port=taken.getsockname()[1]))


def test_serve_from_the_command_line(tmp_path: Path) -> None:
    """It says where it listens, answers, never loads torch itself, starts its worker, and ends both."""
    init_workspace(tmp_path)
    source = Path(__file__).parent.parent / "src"
    process = subprocess.Popen(
        [sys.executable, "-m", "amenable", "serve", "--port", "0", "--workspace", str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(source)},
    )
    try:
        line = process.stdout.readline()  # type: ignore[union-attr]
        url = line.split(" at ")[1].split()[0]

        def health() -> str:
            try:
                return str(httpx.get(f"{url}/api/health").json()["worker"])
            except httpx.TransportError:
                return ""

        wait_for(lambda: health() == "ready")
        maps = Path(f"/proc/{process.pid}/maps")
        assert not maps.exists() or "libtorch" not in maps.read_text()
        assert "works once" in process.stdout.readline()  # type: ignore[union-attr]
        assert upload(url) < 64 * MEBIBYTE
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def upload(url: str) -> int:
    """Send a gigabyte in pieces without telling its length; how many bytes went out before it was refused."""
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1024):
            sent += MEBIBYTE
            yield b"x" * MEBIBYTE

    with (
        httpx.Client(base_url=url) as client,
        contextlib.suppress(httpx.TransportError),
    ):  # the line may be closed on us
        csrf = {"x-csrf-token": client.get("/api/session").json()["csrf"]}
        assert client.post("/api/sign-in", content=pieces(), headers=csrf, timeout=30).status_code == 413
    return sent
