"""A public data set's files on this machine: `fetch(name) -> folder`.

Where AMENABLE_DATA_MIRROR names a folder whose mirror.toml lists the set, its files are taken from there, held to the
mirror's SHA256SUMS. Otherwise they come from the set's public home, once, into the cache (AMENABLE_CACHE, or
~/.cache/amenable): over https only, each download resumed where it broke off, checked, and moved into place whole.
"""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import os
import re
import shutil
import tomllib
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from amenable.config.folder import cache_folder
from amenable.data.registry.entries import Download, Entry, entry
from amenable.errors import DataError

try:
    import fcntl
except ImportError:  # Windows has none
    fcntl = None  # type: ignore[assignment]

Progress = Callable[[str, int, int | None], None]
"""Called as (file, bytes so far, bytes in all or None) while a file is fetched."""

MIRROR_VARIABLE = "AMENABLE_DATA_MIRROR"
_SUMS = "SHA256SUMS"
_TIMEOUT_S = 30.0


def fetch(name: str, cache_dir: str | Path | None = None, *, progress: Progress | None = None) -> Path:
    """The folder with the files of a public data set, fetched if they are not here yet.

    Raises DataError if there is no such set, a checksum does not fit (naming the file), or nothing can be reached.
    """
    return fetch_entry(entry(name), cache_dir, progress=progress)


def fetch_entry(found: Entry, cache_dir: str | Path | None = None, *, progress: Progress | None = None) -> Path:
    """`fetch` for an entry that need not be in the registry."""
    if (mirrored := _in_mirror(found.name)) is not None:
        return mirrored
    folder = (Path(cache_dir) if cache_dir else cache_folder()) / "data" / found.name / found.commit[:12]
    if not (folder / _SUMS).is_file():
        with _alone(folder):
            if not (folder / _SUMS).is_file():  # nor did another command fetch it while this one waited
                _fill_folder(found, folder, progress)
                return folder
    verify(folder, read_sums(folder / _SUMS))
    return folder


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One command at a time fetches into the folder; others wait. On Windows, and file systems without locks, all at once."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(folder.name + ".lock").open("a") as file:
        if fcntl is not None:
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fill_folder(found: Entry, folder: Path, progress: Progress | None) -> None:
    """Fetch the files, note their checksums, and move all into place whole."""
    unfinished = folder.with_name(folder.name + ".part")
    unfinished.mkdir(parents=True, exist_ok=True)
    for download, url in zip(found.download, found.urls(), strict=True):
        _get(download, url, unfinished, found, progress)
    noted = unfinished / _SUMS  # there already where a command was killed before the last line
    files = [file for file in sorted(unfinished.rglob("*")) if file.is_file() and file != noted]
    noted.write_text("".join(f"{sha256_of(file)}  {file.relative_to(unfinished)}\n" for file in files), "utf-8")
    unfinished.rename(folder)


# The mirror -----------------------------------------------------------------------------------------------------------


def _in_mirror(name: str) -> Path | None:
    """The set's folder in the mirror, verified; None if there is no mirror or the set is not in it."""
    given = os.environ.get(MIRROR_VARIABLE)
    if not given:
        return None
    root = Path(given)
    listing = root / "mirror.toml"
    if not listing.is_file():
        raise DataError("the data mirror has no mirror.toml", where=given, mend=f"correct or unset {MIRROR_VARIABLE}")
    place = tomllib.loads(listing.read_text("utf-8")).get(name)
    if place is None:
        return None
    folder = root / place
    if not folder.is_dir():
        raise DataError(f"mirror.toml names a folder for {name} that is not there", where=str(folder))
    sums = {path: value for path, value in read_sums(root / _SUMS).items() if path.startswith(f"{place}/")}
    verify(root, sums)
    return folder


def read_sums(path: Path) -> dict[str, str]:
    """{file: SHA-256} of a file in the form of `sha256sum`."""
    if not path.is_file():
        raise DataError("the file of checksums is not there", where=str(path))
    lines = (line.split(None, 1) for line in path.read_text("utf-8").splitlines() if line.strip())
    return {rest[0].strip().removeprefix("*"): value for value, *rest in lines}


def verify(root: Path, sums: Mapping[str, str]) -> None:
    """Raise DataError, naming the first file under root that is missing or has another checksum."""
    for path, value in sums.items():
        file = root / path
        if not file.is_file():
            raise DataError("a file of the data set is missing", where=str(file), mend="copy or fetch it again")
        if sha256_of(file) != value:
            raise DataError(
                "the file's checksum does not fit: it was changed or cut",
                where=str(file),
                mend="copy or fetch it again",
            )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(sums: Mapping[str, str]) -> str:
    """One checksum of many files: SHA-256 of their lines "<sha256>  <path>\\n" in order of path.

    >>> digest({"b": "22", "a": "11"}) == hashlib.sha256(b"11  a\\n22  b\\n").hexdigest()
    True
    """
    return hashlib.sha256("".join(f"{sums[p]}  {p}\n" for p in sorted(sums)).encode()).hexdigest()


# The public home ------------------------------------------------------------------------------------------------------


def _get(download: Download, url: str, folder: Path, found: Entry, progress: Progress | None) -> None:
    target = folder / (download.path or Path(urlsplit(url).path).name)
    if download.unzip is None:
        if not target.is_file():
            _download(url, target, download.sha256, found.name, progress)
        return
    archive = target.with_name(target.name + ".zip") if not target.name.endswith(".zip") else target
    _download(url, archive, download.sha256, found.name, progress)
    kept = _unpack(archive, folder, download, found.commit)
    archive.unlink()
    sums = {str(path.relative_to(folder)): sha256_of(path) for path in kept}
    if download.digest and digest(sums) != download.digest:
        shutil.rmtree(folder)
        raise DataError(f"the checksum of the {len(sums)} files from {url} does not fit", where=found.name)


def _download(url: str, target: Path, sha256: str, name: str, progress: Progress | None) -> None:
    """Fetch into target.download, from where an earlier attempt stopped; check; rename to target."""
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".download")
    _fill(url, partial, name, progress)
    if sha256 and sha256_of(partial) != sha256:
        partial.unlink()
        raise DataError(
            f"the checksum of {target.name} from {url} does not fit",
            where=name,
            mend="try again; if it stays so, the file changed",
        )
    partial.rename(target)


def _fill(url: str, partial: Path, name: str, progress: Progress | None) -> None:
    _require_safe(url, name)
    have = partial.stat().st_size if partial.is_file() else 0
    headers = {"User-Agent": "amenable", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        with _OPENER.open(urllib.request.Request(url, headers=headers), timeout=_TIMEOUT_S) as answer:
            resumed = answer.status == 206
            have = have if resumed else 0
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length else None
            with partial.open("ab" if resumed else "wb") as file:
                while chunk := answer.read(1 << 18):
                    file.write(chunk)
                    have += len(chunk)
                    if progress is not None:
                        progress(partial.name.removesuffix(".download"), have, total)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # all of it was here already
            return
        raise _unreachable(url, name, f"{error.code} {error.reason}") from error
    except (OSError, ValueError) as error:
        raise _unreachable(url, name, str(error)) from error
    if total is not None and have < total:
        raise _unreachable(url, name, f"the connection closed after {have:,} of {total:,} bytes")


def _unreachable(url: str, name: str, why: str) -> DataError:
    return DataError(
        f"{name} cannot be fetched: {why}",
        where=url,
        mend=f"try again (what came is kept), or set {MIRROR_VARIABLE} to a folder with mirror.toml and the files",
    )


def _require_safe(url: str, name: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname == "127.0.0.1"):
        raise DataError(f"{name} is not at an https address", where=url)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirection only to where a download may start."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        _require_safe(newurl, urlsplit(req.full_url).path)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_SafeRedirects)


def _unpack(archive: Path, folder: Path, download: Download, commit: str) -> list[Path]:
    """The members that the entry keeps, written under the folder. Raises DataError for a damaged archive."""
    rules = download.unzip
    assert rules is not None
    strip, kept = rules.strip.replace("{commit}", commit), []
    try:
        with zipfile.ZipFile(archive) as members:
            for info in members.infolist():
                if info.is_dir() or not info.filename.startswith(strip):
                    continue
                name = info.filename[len(strip) :]
                name = flat_name(name) if rules.flatten else name
                if not _matches(name, rules.include):
                    continue
                target = (folder / name).resolve()
                if not target.is_relative_to(folder.resolve()):
                    raise DataError(f"the archive names a file outside its folder: {info.filename}", where=str(archive))
                target.parent.mkdir(parents=True, exist_ok=True)
                with members.open(info) as packed, target.open("wb") as out:
                    shutil.copyfileobj(packed, out)
                kept.append(folder / name)
    except (zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"the archive is damaged: {error}", where=str(archive), mend="fetch it again") from error
    return kept


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def flat_name(name: str) -> str:
    """A path as one file name of letters, digits and underscores, its suffix kept.

    >>> flat_name("Lewis Carroll/Alice's Adventures.md")
    'Lewis_Carroll_Alice_s_Adventures.md'
    """
    path = Path(name)
    return re.sub(r"[^A-Za-z0-9]+", "_", str(path.with_suffix(""))).strip("_") + path.suffix
