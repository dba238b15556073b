"""The downloader against a server on this machine that does all that servers do."""

import hashlib
import http.server
import io
import os
import re
import ssl
import stat
import tarfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from email.utils import formatdate
from types import SimpleNamespace

import pytest
from cases import case

from data_scripts import download as downloads
from data_scripts.download import copy, digest, download, inside, read_json, run, unpack

CONTENT = bytes(range(100))
OTHER = bytes(reversed(range(100)))
SHA256 = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
DATE = "Wed, 01 Jul 2020 10:00:00 GMT"


class Server:
    """Gives each request the next of `answers`, the last one again and again."""

    def __init__(self):
        self.answers, self.requests = [], []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests.append(SimpleNamespace(path=self.path, headers=self.headers))
                answers = outer.answers
                (answers.pop(0) if len(answers) > 1 else answers[0])(self)

            def log_message(self, *arguments):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def ranges(self):
        return [request.headers["Range"] for request in self.requests]


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    urllib.request.install_opener(None)  # it remembers the proxies
    server = Server()
    yield server
    urllib.request.install_opener(None)
    server.http.shutdown()
    server.http.server_close()


def fetch(server, path, **settings):
    settings = {"wait": 0.001, "timeout": 5, "progress": False, **settings}
    return download(f"{server.url}/leaf", path, **settings)


# Answers


def send(handler, status, headers, body=b""):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, str(value))
    handler.end_headers()
    handler.wfile.write(body)


def fine(content=CONTENT, etag='"1"', n=None, stall=0.0, length=None, **headers):
    """A server that knows ranges; sends n bytes of what it promises, then stalls or hangs up."""

    def answer(handler):
        start, status = 0, 200
        given = {"ETag": etag} if etag else {}
        if handler.headers["Range"] and handler.headers["If-Range"] in (etag, DATE):
            start, status = int(re.search(r"\d+", handler.headers["Range"])[0]), 206
            given["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        body = content[start:]
        given["Content-Length"] = len(body) if length is None else length
        send(handler, status, given | headers, body[:n])
        handler.wfile.flush()
        time.sleep(stall)

    return answer


def partial_of(content, start, n=None, **headers):
    """A server that sends a part whatever was asked for, and n bytes of it."""
    described = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
    body = content[start:]
    return lambda h: send(h, 206, {"Content-Length": len(body), **described, **headers}, body[:n])


def deaf(content=CONTENT, n=None, **headers):
    """A server that knows no ranges."""
    return lambda h: send(h, 200, {"Content-Length": len(content), **headers}, content[:n])


def refuse(status, **headers):
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda h: send(h, status, {"Content-Length": 0, **headers})


def chunked(content, end=b"0\r\n\r\n", **headers):
    body = f"{len(content):x}\r\n".encode() + content + b"\r\n" + end

    def answer(handler):
        handler.protocol_version = "HTTP/1.1"
        send(handler, 200, {"Transfer-Encoding": "chunked", "Connection": "close", **headers}, body)

    return answer


def left(tmp_path):
    return sorted(path.name for path in tmp_path.iterdir())


# Whole or not at all


def test_a_file_comes_whole_and_leaves_nothing_beside_it(server, tmp_path):
    server.answers = [fine()]
    path = tmp_path / "a" / "leaf.jpg"
    assert fetch(server, path, checksum=SHA256) == path
    assert path.read_bytes() == CONTENT
    assert left(path.parent) == ["leaf.jpg"]
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


def test_what_is_there_is_not_fetched_again(server, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "FileLock", None)  # the folder may be one to read only
    (tmp_path / "leaf.jpg").write_bytes(CONTENT)
    for checksum in (None, SHA256, SHA256[:15]):
        fetch(server, tmp_path / "leaf.jpg", checksum=checksum)
    assert server.requests == []
    assert left(tmp_path) == ["leaf.jpg"]


def test_a_damaged_file_is_fetched_again(server, tmp_path):
    server.answers = [fine()]
    (tmp_path / "leaf.jpg").write_bytes(CONTENT[:99])
    fetch(server, tmp_path / "leaf.jpg", checksum=SHA256)
    assert (tmp_path / "leaf.jpg").read_bytes() == CONTENT


def test_an_empty_file_is_a_file(server, tmp_path):
    server.answers = [fine(b"")]
    assert fetch(server, tmp_path / "leaf.jpg").read_bytes() == b""


@pytest.mark.parametrize("stall", [0, 20])
def test_after_a_cut_or_a_stall_only_the_rest_is_fetched(server, tmp_path, stall):
    server.answers = [fine(n=40, stall=stall), fine(n=20), fine()]
    began = time.monotonic()
    fetch(server, tmp_path / "leaf.jpg", timeout=0.5)
    assert time.monotonic() - began < 15
    assert (tmp_path / "leaf.jpg").read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=40-", "bytes=60-"]
    assert [request.headers["If-Range"] for request in server.requests] == [None, '"1"', '"1"']
    assert left(tmp_path) == ["leaf.jpg"]


def test_the_next_command_goes_on_where_the_last_one_ended(server, tmp_path):
    server.answers = [fine(n=40), refuse(500), fine()]
    with pytest.raises(ConnectionError, match=r"500.*0\.0 MB are kept and the same command"):
        fetch(server, tmp_path / "leaf.jpg", attempts=1)
    assert left(tmp_path) == [".leaf.jpg.lock", "leaf.jpg.part", "leaf.jpg.part.json"]
    fetch(server, tmp_path / "leaf.jpg", checksum=SHA256)
    assert server.ranges[-1] == "bytes=40-"
    assert (tmp_path / "leaf.jpg").read_bytes() == CONTENT


def test_stopped_by_hand_it_keeps_what_came(server, tmp_path, monkeypatch):
    def stop(file):
        if os.fstat(file).st_size == len(CONTENT):  # not yet at the record of where it came from
            raise KeyboardInterrupt

    server.answers = [fine()]
    monkeypatch.setattr("os.fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        fetch(server, tmp_path / "leaf.jpg")
    assert not (tmp_path / "leaf.jpg").exists()
    assert (tmp_path / "leaf.jpg.part").read_bytes() == CONTENT


def test_a_part_of_another_address_is_not_continued(server, tmp_path):
    server.answers = [fine(OTHER, n=40), refuse(500), fine()]
    with pytest.raises(ConnectionError):
        download(f"{server.url}/other", tmp_path / "leaf.jpg", attempts=1, progress=False, wait=0)
    fetch(server, tmp_path / "leaf.jpg")
    assert server.ranges == [None, "bytes=40-", None]
    assert (tmp_path / "leaf.jpg").read_bytes() == CONTENT


def test_a_part_without_its_record_is_not_continued(server, tmp_path):
    server.answers = [fine()]
    (tmp_path / "leaf.jpg.part").write_bytes(OTHER[:40])
    fetch(server, tmp_path / "leaf.jpg")
    assert server.ranges == [None]
    assert (tmp_path / "leaf.jpg").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_again(server, tmp_path):
    server.answers = [deaf(n=40, ETag='"1"'), deaf(ETag='"1"')]
    fetch(server, tmp_path / "leaf.jpg")
    assert server.ranges == [None, "bytes=40-"]
    assert (tmp_path / "leaf.jpg").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "second",
    [
        fine(OTHER, etag='"2"'),  # looks at If-Range
        partial_of(OTHER, 40, ETag='"2"'),  # does not
        partial_of(OTHER + b"x", 40),  # another length
        partial_of(OTHER, 30, n=60, ETag='"1"'),  # another place
        lambda handler: send(handler, 206, {"Content-Length": 60, "ETag": '"1"'}, OTHER[40:]),
    ],
)
def test_two_versions_are_never_joined(server, tmp_path, second):
    server.answers = [fine(n=40), second, fine(OTHER, etag='"2"')]
    fetch(server, tmp_path / "leaf.jpg")
    assert (tmp_path / "leaf.jpg").read_bytes() == OTHER


def test_a_server_need_not_say_the_version_of_a_part_again(server, tmp_path):
    server.answers = [fine(n=40), partial_of(CONTENT, 40, n=30), partial_of(CONTENT, 70)]
    fetch(server, tmp_path / "leaf.jpg")
    assert server.ranges == [None, "bytes=40-", "bytes=70-"]
    assert (tmp_path / "leaf.jpg").read_bytes() == CONTENT


def test_without_a_version_all_is_fetched_again(server, tmp_path):
    server.answers = [fine(etag=None, n=40), fine(OTHER, etag=None)]
    fetch(server, tmp_path / "leaf.jpg")
    assert server.ranges == [None, None]
    assert (tmp_path / "leaf.jpg").read_bytes() == OTHER


@pytest.mark.parametrize("etag", [None, 'W/"1"'])
def test_the_date_of_change_serves_where_there_is_no_strong_etag(server, tmp_path, etag):
    dated = {"etag": etag, "Last-Modified": DATE}
    server.answers = [fine(n=40, **dated), fine(**dated)]
    fetch(server, tmp_path / "leaf.jpg")
    assert server.requests[1].headers["If-Range"] == DATE
    assert server.ranges == [None, "bytes=40-"]


def test_a_part_as_long_as_the_file_is_fetched_again(server, tmp_path):
    server.answers = [fine(n=40), refuse(416), fine()]
    fetch(server, tmp_path / "leaf.jpg")
    assert server.ranges == [None, "bytes=40-", None]
    assert (tmp_path / "leaf.jpg").read_bytes() == CONTENT


def test_a_file_shorter_than_promised_is_never_taken_for_whole(server, tmp_path):
    server.answers = [deaf(n=60)]
    with pytest.raises(ConnectionError, match="60 of 100 bytes came"):
        fetch(server, tmp_path / "leaf.jpg", attempts=3)
    assert not (tmp_path / "leaf.jpg").exists()
    assert len(server.requests) == 4  # the first brought something


def test_a_file_longer_than_promised_is_found_out_by_its_checksum(server, tmp_path):
    server.answers = [fine(length=60)]
    with pytest.raises(ValueError, match=rf"must have the checksum {SHA256}, got sha256:"):
        fetch(server, tmp_path / "leaf.jpg", checksum=SHA256)
    assert left(tmp_path) == [".leaf.jpg.lock"]


def test_wrong_bytes_are_thrown_away_and_the_old_file_stays(server, tmp_path):
    server.answers = [fine(OTHER)]
    (tmp_path / "leaf.jpg").write_bytes(b"old")
    with pytest.raises(ValueError, match=r"leaf\.jpg must have.*/leaf; it was thrown away"):
        fetch(server, tmp_path / "leaf.jpg", checksum=SHA256)
    assert left(tmp_path) == [".leaf.jpg.lock", "leaf.jpg"]
    assert (tmp_path / "leaf.jpg").read_bytes() == b"old"
    assert len(server.requests) == 1


def test_a_file_of_unknown_length_needs_a_checksum(server, tmp_path):
    server.answers = [lambda handler: send(handler, 200, {}, CONTENT)]
    with pytest.raises(ValueError, match="must come with its length or a checksum, got neither"):
        fetch(server, tmp_path / "leaf.jpg")
    assert left(tmp_path) == [".leaf.jpg.lock"]
    assert fetch(server, tmp_path / "leaf.jpg", checksum=SHA256).read_bytes() == CONTENT


def test_the_end_of_chunks_is_seen(server, tmp_path):
    server.answers = [chunked(CONTENT[:40], end=b""), chunked(CONTENT)]
    assert fetch(server, tmp_path / "leaf.jpg").read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_two_at_the_same_time_fetch_a_file_once(server, tmp_path):
    server.answers = [fine(stall=0.1)]
    both = [threading.Thread(target=fetch, args=(server, tmp_path / "leaf.jpg")) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert len(server.requests) == 1
    assert left(tmp_path) == ["leaf.jpg"]


# Servers that say no


def test_redirects_are_followed_also_for_the_rest(server, tmp_path):
    def moved(handler):
        send(handler, 302, {"Location": f"{server.url}/moved", "Content-Length": 0})

    server.answers = [moved, fine(n=40), moved, fine()]
    fetch(server, tmp_path / "leaf.jpg")
    assert (tmp_path / "leaf.jpg").read_bytes() == CONTENT
    assert [request.path for request in server.requests] == ["/leaf", "/moved"] * 2
    assert server.ranges[-1] == "bytes=40-"


def test_a_redirect_in_a_circle_ends(server, tmp_path):
    server.answers = [refuse(302, Location="/leaf")]
    with pytest.raises(ConnectionError, match="infinite loop"):
        fetch(server, tmp_path / "leaf.jpg")


def test_https_is_never_left(tmp_path, monkeypatch):
    class Answer(io.BytesIO):
        url = "http://elsewhere/leaf"

    monkeypatch.setattr("urllib.request.urlopen", lambda *a, **k: Answer(CONTENT))
    with pytest.raises(ValueError, match="must stay on https, got redirected to http://elsewhere"):
        download("https://here/leaf", tmp_path / "leaf.jpg", progress=False)


def test_a_file_that_is_not_there_is_asked_for_once(server, tmp_path):
    for n, status in enumerate((404, 410), start=1):
        server.answers = [refuse(status)]
        words = rf"url must be.*/leaf, which.*\({status}\)"
        with case(status), pytest.raises(FileNotFoundError, match=words):
            fetch(server, tmp_path / "leaf.jpg")
        assert len(server.requests) == n, status


def test_a_refusal_is_not_repeated(server, tmp_path):
    server.answers = [refuse(403)]
    with pytest.raises(ConnectionError, match=r"Forbidden\); the same.*fetch it elsewhere.*--from"):
        fetch(server, tmp_path / "leaf.jpg")
    assert len(server.requests) == 1


@pytest.fixture
def slept(monkeypatch):
    seconds = []
    monkeypatch.setattr(downloads.time, "sleep", seconds.append)
    return seconds


def test_what_passes_is_tried_again(server, tmp_path, slept):
    for status in (408, 425, 429, 500, 502, 503, 504):
        server.answers = [refuse(status), fine()]
        with case(status):
            fetch(server, tmp_path / f"{status}.jpg")
            assert (tmp_path / f"{status}.jpg").read_bytes() == CONTENT


def test_a_busy_server_gets_the_seconds_it_asks_for(server, tmp_path, slept):
    later = formatdate(time.time() + 100, usegmt=True)
    answers = [refuse(429, Retry_After=7), refuse(503, Retry_After=later)]
    server.answers = [*answers, refuse(503, Retry_After="soon"), fine()]
    fetch(server, tmp_path / "leaf.jpg")
    assert slept[0] == 7
    assert 95 < slept[1] <= 100
    assert slept[2] < 1


def test_a_server_that_asks_for_hours_is_asked_another_day(server, tmp_path, slept):
    server.answers = [refuse(429, Retry_After=7200)]
    with pytest.raises(ConnectionError, match="goes on in 120 minutes"):
        fetch(server, tmp_path / "leaf.jpg")
    assert slept == []


def test_attempts_come_ever_later_and_end(server, tmp_path, slept):
    server.answers = [refuse(500)]
    with pytest.raises(ConnectionError, match="Internal Server Error"):
        fetch(server, tmp_path / "leaf.jpg", attempts=4, wait=8)
    assert len(server.requests) == 4
    for seconds, most in zip(slept, (8, 16, 32), strict=True):
        assert most / 2 <= seconds <= most


def test_attempts_that_bring_something_are_not_counted(server, tmp_path, slept):
    server.answers = [fine(n=10)]
    fetch(server, tmp_path / "leaf.jpg", attempts=2)
    assert (tmp_path / "leaf.jpg").read_bytes() == CONTENT
    assert len(server.requests) == 10


def test_a_server_that_cannot_be_reached_is_named(tmp_path, slept):
    with pytest.raises(ConnectionError, match=r"http://127\.0\.0\.1:9/leaf could not be fetched"):
        download("http://127.0.0.1:9/leaf", tmp_path / "leaf.jpg", progress=False)
    assert len(slept) == 4


def test_a_certificate_that_is_not_trusted_is_not_tried_again(tmp_path, monkeypatch, slept):
    def refused(*arguments, **settings):
        raise urllib.error.URLError(ssl.SSLCertVerificationError("self-signed certificate"))

    monkeypatch.setattr("urllib.request.urlopen", refused)
    with pytest.raises(ConnectionError, match="self-signed"):
        download("https://here/leaf", tmp_path / "leaf.jpg", progress=False)
    assert slept == []


def test_proxies_are_honoured(server, tmp_path, monkeypatch):
    server.answers = [fine()]
    monkeypatch.setenv("http_proxy", server.url)
    urllib.request.install_opener(None)
    download("http://data.invalid/leaf", tmp_path / "leaf.jpg", progress=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    fetch(server, tmp_path / "near.jpg")
    asked = [request.path for request in server.requests]
    assert asked == ["http://data.invalid/leaf", "/leaf"]


# This machine


def test_a_full_disk_is_found_out_before_the_first_byte(server, tmp_path, monkeypatch):
    server.answers = [fine()]
    full = SimpleNamespace(free=99)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: full)
    with pytest.raises(OSError, match=r"must have 0\.0 MB free, got 0\.0 MB; .*--folder"):
        fetch(server, tmp_path / "leaf.jpg")
    assert left(tmp_path) == [".leaf.jpg.lock"]
    full.free = 100
    fetch(server, tmp_path / "leaf.jpg")


def test_only_the_rest_must_find_room(server, tmp_path, monkeypatch):
    server.answers = [fine(n=40), refuse(403), fine()]
    with pytest.raises(ConnectionError):
        fetch(server, tmp_path / "leaf.jpg")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=60))
    assert fetch(server, tmp_path / "leaf.jpg").read_bytes() == CONTENT


def test_trouble_with_the_disk_is_not_tried_again(server, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    server.answers = [fine()]
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        fetch(server, tmp_path / "leaf.jpg")
    assert len(server.requests) == 1


def test_checksums_are_those_of_git_and_of_the_digests(tmp_path):
    path = tmp_path / "hello"
    path.write_bytes(b"hello\n")
    # `echo hello | git hash-object --stdin`, `echo hello | sha1sum`
    assert digest(path, "git") == "git:ce013625030ba8dba906f756967f9e9ca394464a"
    assert digest(path, "sha1") == "sha1:f572d396fae9206628714fb2ce00f72e94f2258f"
    assert digest(path, "sha256") == f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_what_cannot_be_asked_for_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"url must begin with https://.*got 'file:///etc/passwd'"):
        download("file:///etc/passwd", tmp_path / "leaf.jpg")
    for checksum in ("sha256:", "md5:0123456789", "sha1:XYZ", SHA256.upper()):
        with pytest.raises(ValueError, match="checksum must be 'sha256:'"):
            download("https://here/leaf", tmp_path / "leaf.jpg", checksum=checksum)
        with pytest.raises(ValueError, match="checksum must be 'sha256:'"):
            copy(tmp_path, tmp_path / "leaf.jpg", checksum=checksum)
    assert left(tmp_path) == []


def test_a_file_from_elsewhere_is_checked_too(tmp_path):
    source, path = tmp_path / "stick.jpg", tmp_path / "a" / "leaf.jpg"
    source.write_bytes(CONTENT)
    assert copy(source, path, checksum=SHA256).read_bytes() == CONTENT
    source.write_bytes(OTHER)
    with pytest.raises(ValueError, match=r"got sha256:\w+ from .*stick\.jpg"):
        copy(source, path, checksum=SHA256)
    assert left(path.parent) == ["leaf.jpg"]
    assert path.read_bytes() == CONTENT
    with pytest.raises(FileNotFoundError, match=r"--from must be a file here, got '.*nowhere'"):
        copy(tmp_path / "nowhere", path)


def test_a_copy_that_fails_leaves_nothing(tmp_path, monkeypatch):
    source, path = tmp_path / "stick.jpg", tmp_path / "a" / "leaf.jpg"
    source.write_bytes(CONTENT)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=99))
    with pytest.raises(OSError, match="free"):
        copy(source, path)
    assert left(path.parent) == []


def test_an_answer_in_json_is_read(server):
    server.answers = [fine(b'{"a": [1]}'), fine(b"<html>log in</html>")]
    assert read_json(f"{server.url}/list") == {"a": [1]}
    with pytest.raises(ValueError, match=r"must answer in JSON, got b'<html>log in.*--from"):
        read_json(f"{server.url}/list")


def test_a_mistake_on_the_command_line_is_one_line():
    def fail(error):
        raise error

    for error in (ValueError("no such leaf"), OSError("no such leaf")):
        with pytest.raises(SystemExit, match="^fetch: no such leaf$"):
            run("fetch", fail, error)
    with pytest.raises(SystemExit, match="^fetch: stopped; the same command goes on"):
        run("fetch", fail, KeyboardInterrupt())


# Archives


def zipped(path, files, modes=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o644) << 16
            archive.writestr(info, content)
    return path


def tarred(path, files, kinds=None):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.type = (kinds or {}).get(name, tarfile.REGTYPE)
            info.linkname = "/etc/passwd"
            info.size = len(content) if info.isreg() else 0
            archive.addfile(info, io.BytesIO(content))
    return path


PACKERS = pytest.mark.parametrize("pack", [zipped, tarred])


@PACKERS
def test_an_archive_is_unpacked(tmp_path, pack):
    files = {"a/x.txt": b"x", "a/b/y.txt": b"y", "z.txt": b"z" * 1000}
    archive = pack(tmp_path / "archive", files)
    out = tmp_path / "out"
    written = unpack(archive, out, progress=False)
    assert {str(path.relative_to(out)): path.read_bytes() for path in written} == files
    assert {path for path in out.rglob("*") if path.is_file()} == set(written)


@PACKERS
def test_the_folder_around_all_is_left_out_and_what_mac_os_adds(tmp_path, pack):
    files = {"./set-1/x.txt": b"x", "./set-1/b/y.txt": b"y", "__MACOSX/._x.txt": b""}
    unpack(pack(tmp_path / "archive", files), tmp_path / "out", progress=False)
    assert left(tmp_path / "out") == ["b", "x.txt"]


@PACKERS
def test_only_the_folders_that_are_asked_for_come(tmp_path, pack):
    files = {f"top/raw/{name}.txt": b"" for name in ("a/1", "a/2", "ab/3", "c/4")}
    written = unpack(
        pack(tmp_path / "archive", files), tmp_path / "out", only=["raw/a"], progress=False
    )
    assert sorted(path.name for path in written) == ["1.txt", "2.txt"]


@PACKERS
def test_no_file_comes_to_lie_outside(tmp_path, pack):
    names = ["../evil", "a/../../evil", "/evil", "//evil", "..\\evil", "C:/evil", "\\\\host\\evil"]
    words = r"must stay inside .*here, got .*evil.*do not use"
    for name in names:
        for files in ({"good.txt": b"", name: b"evil"}, {name: b"evil"}):
            archive = pack(tmp_path / "archive", files)
            with case(list(files)), pytest.raises(ValueError, match=words):
                unpack(archive, tmp_path / "out" / "here", progress=False)
            assert left(tmp_path) == ["archive"], name


def test_links_and_devices_are_refused(tmp_path):
    files = {"good.txt": b"", "link": b"/etc/passwd"}
    archives = [zipped(tmp_path / "a", files, {"link": stat.S_IFLNK | 0o777})]
    for i, kind in enumerate((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE)):
        archives.append(tarred(tmp_path / f"b{i}", files, {"link": kind}))
    for archive in archives:
        with pytest.raises(ValueError, match="got 'link', a link or a device; nothing was unpack"):
            unpack(archive, tmp_path / "out", progress=False)
        assert not (tmp_path / "out").exists()


@pytest.mark.needs("links that anyone may make", there=os.name != "nt")
def test_a_link_that_is_there_leads_nowhere(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").symlink_to(tmp_path)
    archive = zipped(tmp_path / "archive", {"a/evil.txt": b"", "b.txt": b""})
    with pytest.raises(ValueError, match=r"must stay inside"):
        unpack(archive, tmp_path / "out", progress=False)
    assert left(tmp_path) == ["archive", "out"]


def test_names_inside_a_folder_that_is_given_from_below(tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path / "a")
    folder = downloads.Path("..") / "out"
    assert inside(folder, "leaf.jpg") == folder / "leaf.jpg"
    with pytest.raises(ValueError, match="got ''"):
        inside(folder, "")


@PACKERS
def test_a_damaged_archive_is_named(tmp_path, pack):
    content = hashlib.sha256(b"").digest() * 500  # repeats, so that a changed byte is noticed
    archive = pack(tmp_path / "archive", {"x.txt": content, "y.txt": content})
    damaged = bytearray(archive.read_bytes())
    damaged[60] ^= 255
    archive.write_bytes(damaged)
    with pytest.raises(ValueError, match=r"archive must be a .*damaged one.*fetch it again"):
        unpack(archive, tmp_path / "out", progress=False)
    archive.write_bytes(CONTENT)
    with pytest.raises(ValueError, match="must be a zip or tar file, got something else"):
        unpack(archive, tmp_path / "out", progress=False)


@PACKERS
def test_an_archive_must_find_room_before_it_is_unpacked(tmp_path, pack, monkeypatch):
    archive = pack(tmp_path / "archive", {"x.txt": b"x" * 60, "y.txt": b"y" * 60})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=119))
    with pytest.raises(OSError, match="free"):
        unpack(archive, tmp_path / "out", progress=False)
    assert left(tmp_path / "out") == []
