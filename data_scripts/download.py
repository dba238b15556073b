"""Files from the internet, whole or not at all; and archives, unpacked inside their folder only.

What comes is kept in FILE.part until it is whole and its checksum is right; only then does FILE
bear its name. FILE.part.json says which version of the file the part belongs to: after a cut the
rest is asked for under the condition that the version is still the same (RFC 9110, sections 13.1.5
and 14, https://www.rfc-editor.org/rfc/rfc9110), and otherwise all of it anew.

Python's own urllib does the talking. It honours http_proxy, https_proxy and no_proxy, follows
redirects, and hands over the bytes as the server keeps them, which is what ranges count.
"""

import argparse
import contextlib
import email.utils
import gzip
import hashlib
import http.client
import json
import lzma
import math
import os
import random
import re
import shutil
import ssl
import stat
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from filelock import FileLock
from tqdm.auto import tqdm

from labkit.files import write_atomically

DOWNLOADS = Path(__file__).parents[1] / "downloads"
CHUNK = 2**18  # bytes read at once
LONGEST_WAIT = 300  # seconds that a server may ask for before we give up
PASSING = (408, 425, 429, 500, 502, 503, 504)  # answers that may be others a moment later
DAMAGE = (  # what reading a damaged archive raises
    EOFError,
    RuntimeError,
    gzip.BadGzipFile,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
CHECKSUM = re.compile(r"(sha256|sha1|git):([0-9a-f]{8,64})")


class Version(NamedTuple):
    """Which version of a file some bytes belong to."""

    url: str
    validator: str | None  # the server's ETag or Last-Modified; None if parts cannot be joined
    length: int | None  # of the whole file, in bytes


class Cut(Exception):
    """The file did not come to its end; another attempt may bring it."""


# Downloads


def download(
    url: str,
    path: Path,
    *,
    checksum: str | None = None,
    attempts: int = 5,
    timeout: float = 30.0,
    wait: float = 1.0,
    progress: bool = True,
) -> Path:
    """Fetch a file, unless it is there already; go on where an earlier attempt was cut off.

    Args:
        url: http or https.
        path: where the file is to be; its folders are made.
        checksum: "sha256:...", "sha1:..." or "git:..." (the name that git gives to the content),
            in hexadecimal; of a shorter one, as in the names of torch's files, the beginning must
            agree. Without it, a file whose server states too small a length is taken for whole.
        attempts: how many in a row may bring nothing new before we give up.
        timeout: seconds without a byte after which an attempt ends.
        wait: seconds before the second attempt; doubled after each that brings nothing.
        progress: show a bar.

    Returns:
        The path.

    Raises:
        ValueError: url or checksum is malformed, or the file is not the one that was wanted.
        FileNotFoundError: the server does not have the file.
        ConnectionError: the server cannot be reached or does not give it; what came is kept.
        OSError: the disk is full.
    """
    _check_url(url)
    _check_checksum(checksum)
    if is_whole(path, checksum):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    with FileLock(lock):  # others may fetch into a shared folder at the same time
        if not is_whole(path, checksum):
            part = path.with_name(f"{path.name}.part")
            with tqdm(
                desc=path.name, unit="B", unit_scale=True, leave=False, disable=not progress
            ) as bar:
                _fetch(url, part, bar, checksum is not None, attempts, timeout, wait)
            _put_in_place(part, path, checksum, url)
    with contextlib.suppress(OSError):  # Windows, while another one waits for it
        lock.unlink()
    return path


def is_whole(path: Path, checksum: str | None) -> bool:
    """Whether a file is there and has the checksum, if one is given."""
    return path.is_file() and (checksum is None or digest(path, checksum).startswith(checksum))


def digest(path: Path, kind: str) -> str:
    """A file's checksum "kind:hexadecimal"; of `kind` only what is before a colon counts."""
    kind = kind.split(":")[0]
    whole = hashlib.sha256() if kind == "sha256" else hashlib.sha1(usedforsecurity=False)
    if kind == "git":
        whole.update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            whole.update(chunk)
    return f"{kind}:{whole.hexdigest()}"


def copy(source: Path, path: Path, *, checksum: str | None = None) -> Path:
    """Put a file of this machine in place, checked as if it had been downloaded.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: checksum is malformed or another.
        OSError: the disk is full.
    """
    _check_checksum(checksum)
    if not source.is_file():
        raise FileNotFoundError(
            f"--from must be a file here, got {str(source)!r} (paths start from {Path.cwd()}); "
            "check the spelling"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    check_space(path.parent, source.stat().st_size)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        shutil.copyfile(source, part)
        _put_in_place(part, path, checksum, str(source))
    finally:
        part.unlink(missing_ok=True)
    return path


def read_json(url: str, **settings) -> dict:
    """What a server answers in JSON; settings are those of `download`.

    Raises:
        ValueError: it answers something else.
        OSError: as `download`.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = download(url, Path(folder) / "answer.json", progress=False, **settings)
        try:
            return json.loads(path.read_bytes())
        except ValueError as error:
            raise ValueError(
                f"{url} must answer in JSON, got {path.read_bytes()[:40]!r}; a proxy's page, or "
                "the service has changed: fetch with a browser and pass the file with --from"
            ) from error


def check_space(folder: Path, n_bytes: int) -> None:
    """Find out before anything is written whether it fits.

    Raises:
        OSError: it does not.
    """
    free = shutil.disk_usage(folder).free
    if free < n_bytes:
        raise OSError(
            f"{folder} must have {_megabytes(n_bytes)} free, got {_megabytes(free)}; "
            "make room there or name another folder with --folder"
        )


def _fetch(
    url: str,
    part: Path,
    bar: tqdm,
    has_checksum: bool,
    attempts: int,
    timeout: float,
    wait: float,
) -> None:
    """Receive until the part is whole; attempts that bring something new are not counted."""
    rng = random.Random()
    furthest, failures = _size(part), 0
    while True:
        try:
            return _receive(url, part, bar, has_checksum, timeout)
        except (Cut, OSError, http.client.HTTPException) as error:
            asked, reason = _seconds_asked_for(error, url, part), _in_words(error)
        failures = 0 if _size(part) > furthest else failures + 1
        furthest = max(furthest, _size(part))
        if failures >= attempts:
            raise _given_up(url, part, reason)
        # Not all machines of a classroom at the same moment.
        time.sleep(max(asked, wait * 2 ** max(failures - 1, 0) * rng.uniform(0.5, 1)))


def _receive(url: str, part: Path, bar: tqdm, has_checksum: bool, timeout: float) -> None:
    """One attempt."""
    known = _version_of_part(part, url)
    start = _size(part) if known and known.validator else 0
    headers = {"User-Agent": "labkit", "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-", "If-Range": known.validator}
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=timeout) as response:
        _check_safe(url, response.url)
        version = _version_of_answer(response, url)
        start = _start(response, part, start, known, version)
        _check_end_can_be_seen(response, version, has_checksum, url)
        check_space(part.parent, (version.length or 0) - start)
        with part.open("ab" if start else "wb") as file:
            # Only now: the older part is gone, and never goes by the newer version's name.
            _record(part, known if start else version)
            _copy(response, file, bar, start, version.length)
    if version.length not in (None, _size(part)):
        raise Cut(f"{_size(part)} of {version.length} bytes came")


def _start(
    response: http.client.HTTPResponse,
    part: Path,
    start: int,
    known: Version | None,
    version: Version,
) -> int:
    """The place in the file where the answer begins; 0 where the server ignores what we asked."""
    if response.status != 206:
        return 0
    begin = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    same = known is not None and version.length == known.length
    # A server that was told to send a part of one version only need not say the version again.
    same &= version.validator is None or version.validator == known.validator
    if not (begin and int(begin[1]) == start and same):
        _discard(part)
        raise Cut("the file changed in between; it is fetched from the beginning")
    return start


def _copy(response: http.client.HTTPResponse, file, bar: tqdm, start: int, total: int | None):
    bar.reset(total)
    bar.update(start)
    while chunk := response.read1(CHUNK):  # whatever is there, so that a stall loses nothing
        file.write(chunk)
        bar.update(len(chunk))
    file.flush()
    os.fsync(file.fileno())  # on the disk before it bears its name


def _version_of_answer(response: http.client.HTTPResponse, url: str) -> Version:
    etag = response.headers.get("ETag")
    if etag and etag.startswith("W/"):  # a weak one says nothing about bytes
        etag = None
    length = response.length
    if response.status == 206:
        total = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
        length = int(total[1]) if total else None
    return Version(url, etag or response.headers.get("Last-Modified"), length)


def _record_of(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _record(part: Path, version: Version) -> None:
    write_atomically(_record_of(part), json.dumps(version._asdict()).encode())


def _version_of_part(part: Path, url: str) -> Version | None:
    """What the bytes that came earlier belong to; None if they do not serve."""
    try:
        version = Version(**json.loads(_record_of(part).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return version if version.url == url and part.is_file() else None


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _record_of(part).unlink(missing_ok=True)


def _put_in_place(part: Path, path: Path, checksum: str | None, source: str) -> None:
    if not is_whole(part, checksum):
        came = digest(part, checksum)
        _discard(part)
        raise ValueError(
            f"{path.name} must have the checksum {checksum}, got {came} from {source}; it was "
            "thrown away: fetch it again, and if that does not help, the file there is another one"
        )
    os.replace(part, path)
    _discard(part)


# What went wrong


def _seconds_asked_for(error: Exception, url: str, part: Path) -> float:
    """How long the server wants us to wait, mostly 0; raises where waiting does not help."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        if error.code == 416:  # our part is as long as the file, or longer
            _discard(part)
            return 0
        if error.code in (404, 410):
            raise FileNotFoundError(
                f"url must be that of a file, got {url}, which the server does not have "
                f"({error.code}); it may have moved: look for it with a browser"
            ) from error
        asked = _retry_after(error.headers.get("Retry-After"))
        if error.code in PASSING and asked <= LONGEST_WAIT:
            return asked
        raise _given_up(url, part, _in_words(error), asked) from error
    if isinstance(getattr(error, "reason", error), ssl.SSLCertVerificationError):
        raise _given_up(url, part, _in_words(error)) from error
    passing = (Cut, urllib.error.URLError, TimeoutError, ConnectionError, http.client.HTTPException)
    if isinstance(error, passing):
        return 0
    raise error  # the disk's


def _retry_after(text: str | None) -> float:
    """Seconds from the header Retry-After, which gives a number or a date."""
    try:
        return int(text or 0)
    except ValueError:
        try:
            return email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        except ValueError:
            return 0


def _in_words(error: Exception) -> str:
    return str(error) or type(error).__name__


def _given_up(url: str, part: Path, reason: str, asked: float = 0) -> ConnectionError:
    kept = f"{_megabytes(_size(part))} are kept and " if _size(part) else ""
    later = f" in {math.ceil(asked / 60)} minutes" if asked > 0 else " later"
    return ConnectionError(
        f"{url} could not be fetched ({reason}); {kept}the same command goes on{later}; without "
        "internet here, fetch it elsewhere and pass it with --from"
    )


def _megabytes(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _check_url(url: str) -> None:
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"url must begin with https:// or http://, got {url!r}; check the address")


def _check_checksum(checksum: str | None) -> None:
    if checksum is not None and not CHECKSUM.fullmatch(checksum):
        raise ValueError(
            "checksum must be 'sha256:', 'sha1:' or 'git:' and at least 8 hexadecimal digits in "
            f"lower case, got {checksum!r}"
        )


def _check_safe(url: str, redirected: str) -> None:
    if url.startswith("https:") and not redirected.startswith("https:"):
        raise ValueError(
            f"{url} must stay on https, got redirected to {redirected}; somebody between may read "
            "and change what comes: try another network"
        )


def _check_end_can_be_seen(
    response: http.client.HTTPResponse, version: Version, has_checksum: bool, url: str
) -> None:
    if version.length is None and not response.chunked and not has_checksum:
        raise ValueError(
            f"{url} must come with its length or a checksum, got neither, so that a part could not "
            "be told from the whole; pass checksum="
        )


# Archives


class Member(NamedTuple):
    """A file in an archive."""

    name: str
    size: int  # bytes, unpacked
    is_file: bool  # no link, no device
    read: Callable[[], bytes]


def unpack(
    archive: Path, folder: Path, *, only: Sequence[str] = (), progress: bool = True
) -> list[Path]:
    """Unpack a zip or tar file; each file is written whole or not at all.

    A folder that holds all the others, as in GitHub's archives, is left out.

    Args:
        archive: zip, or tar with any compression that Python knows.
        folder: where the files go.
        only: folders in the archive, such as "raw/color"; without any, all files.
        progress: show a bar.

    Returns:
        The files that were written.

    Raises:
        ValueError: it is no archive or a damaged one; or it holds a link, a device or a file that
            would come to lie outside of the folder: then nothing is written.
        OSError: the disk is full.
    """
    with _members(archive) as members:
        for member in members:
            inside(folder, member.name)
        names = _without_common_folder([member.name for member in members])
        starts = tuple(f"{start}/" for start in only) or ""
        chosen = [
            (inside(folder, name), member)
            for name, member in zip(names, members, strict=True)
            if name.startswith(starts)
        ]
        _check_are_files(archive, [member for _, member in chosen])
        folder.mkdir(parents=True, exist_ok=True)
        check_space(folder, sum(member.size for _, member in chosen))
        for path, member in tqdm(chosen, desc=archive.name, leave=False, disable=not progress):
            write_atomically(path, member.read())
    return [path for path, _ in chosen]


def _check_are_files(archive: Path, members: Sequence[Member]) -> None:
    strange = [member.name for member in members if not member.is_file]
    if strange:
        raise ValueError(
            f"{archive} must hold files and folders only, got {strange[0]!r}, a link or a device; "
            "nothing was unpacked: do not use the archive"
        )


def inside(folder: Path, name: str) -> Path:
    """The path of a file by the name that a stranger gave to it.

    Raises:
        ValueError: it would lie outside of the folder, here or on Windows.
    """
    parts = PurePosixPath(name).parts
    strange = not parts or ".." in parts or "\\" in name or PureWindowsPath(name).anchor
    path = folder / name
    if strange or not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(
            f"the names of files must stay inside {folder}, got {name!r}; do not use what it "
            "comes from"
        )
    return path


@contextlib.contextmanager
def _members(archive: Path) -> Iterator[list[Member]]:
    """The files of an archive, what Mac OS adds left out; readable until the block ends."""
    try:
        with _opened(archive) as members:
            yield [member for member in members if not member.name.startswith("__MACOSX/")]
    except DAMAGE as error:
        raise ValueError(
            f"{archive} must be a whole zip or tar file without password, got a damaged one "
            f"({_in_words(error)}); fetch it again"
        ) from error


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[list[Member]]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as file:
            yield [_zipped(file, info) for info in file.infolist() if not info.is_dir()]
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as file:
            yield [_tarred(file, info) for info in file if not info.isdir()]
    else:
        raise ValueError(
            f"{archive} must be a zip or tar file, got something else or a damaged one; "
            "fetch it again"
        )


def _zipped(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    kind = stat.S_IFMT(info.external_attr >> 16)  # 0 in archives that were not made on Unix
    is_file = kind in (0, stat.S_IFREG)
    return Member(info.filename, info.file_size, is_file, partial(file.read, info))


def _tarred(file: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    return Member(info.name, info.size, info.isreg(), lambda: file.extractfile(info).read())


def _without_common_folder(names: Sequence[str]) -> list[str]:
    paths = [PurePosixPath(name) for name in names]
    tops = {path.parts[0] if len(path.parts) > 1 else None for path in paths}
    if len(tops) == 1 and None not in tops:
        paths = [PurePosixPath(*path.parts[1:]) for path in paths]
    return [str(path) for path in paths]


# Command lines


def add_options(parser: argparse.ArgumentParser, source: str) -> None:
    """The options that all scripts share; `source` says what --from is for one of them."""
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE", help=source)
    parser.add_argument("--quiet", action="store_true", help="no progress bars")


def run(name: str, command: Callable[[argparse.Namespace], None], options: argparse.Namespace):
    """Do what a command line asks for; what is wrong becomes one line."""
    try:
        command(options)
    except (OSError, ValueError) as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        sys.exit(f"{name}: stopped; the same command goes on from here")
