"""Downloads end complete and checked, or leave nothing that looks complete."""

import gzip
import hashlib
import http.server
import re
import threading

import numpy as np
import pytest

from runner.data.sources import download
from runner.data.sources.download import Published, fetch
from runner.data.sources.published import PUBLISHED
from runner.errors import ConfigError, DataError
from runner.registry import datasets

CONTENT = bytes(range(256)) * 5000


class Server(http.server.ThreadingHTTPServer):
    """Serves ``files``; ``requests`` has the path and the range of each request."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.requests = {"data.bin": CONTENT}, []
        self.cut_after, self.knows_ranges, self.redirects = None, True, {}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, name = self.server, self.path.lstrip("/")
        asked = self.headers.get("Range")
        server.requests.append((name, asked))
        if name in server.redirects:
            self.send_response(302)
            self.send_header("Location", server.redirects[name])
            self.end_headers()
            return
        if name not in server.files:
            self.send_error(404)
            return
        content, start = server.files[name], 0
        if asked and server.knows_ranges:
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:][: server.cut_after])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "ALLOWED_SCHEMES", ("http",))
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def published(server, name="data.bin", content=CONTENT):
    sha256 = hashlib.sha256(content).hexdigest()
    return Published(name, f"{server.url}/{name}", len(content), sha256)


def test_a_file_is_downloaded_once_into_a_new_folder(server, tmp_path, capsys):
    folder = tmp_path / "a" / "b"
    fetch([published(server)], folder)
    assert [path.name for path in folder.iterdir()] == ["data.bin"]
    assert (folder / "data.bin").read_bytes() == CONTENT
    said = capsys.readouterr().err
    assert f"Downloading {folder / 'data.bin'} (1.3 MB)" in said
    fetch([published(server)], folder)
    assert len(server.requests) == 1


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_an_interrupted_download_is_resumed(server, tmp_path, knows_ranges):
    server.cut_after, server.knows_ranges = 500_000, knows_ranges
    with pytest.raises(DataError, match=r"ended after 500000 of 1280000 bytes.*try again"):
        fetch([published(server)], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["data.bin.part"]
    server.cut_after = None
    fetch([published(server)], tmp_path)
    assert server.requests == [("data.bin", None), ("data.bin", "bytes=500000-")]
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert not (tmp_path / "data.bin.part").exists()


@pytest.mark.parametrize("content", [CONTENT[:-1] + b"x", CONTENT + b"x"])
def test_other_contents_are_refused_and_removed(server, tmp_path, content):
    server.files["data.bin"] = content
    with pytest.raises(DataError, match="SHA-256") as raised:
        fetch([published(server)], tmp_path)
    assert raised.value.key == str(tmp_path / "data.bin")
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_is_complete_is_not_asked_for_again(server, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(CONTENT)
    fetch([published(server)], tmp_path)
    assert server.requests == []
    assert [path.name for path in tmp_path.iterdir()] == ["data.bin"]
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


def test_a_damaged_part_is_not_resumed_forever(server, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(b"x" * 1000)
    with pytest.raises(DataError, match="SHA-256"):
        fetch([published(server)], tmp_path)
    fetch([published(server)], tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT


def test_without_the_file_the_message_says_what_to_put_where(server, tmp_path):
    file = published(server, "other.bin")
    with pytest.raises(DataError, match="404") as raised:
        fetch([file], tmp_path)
    assert raised.value.key == str(tmp_path / "other.bin")
    assert f"download {file.url} and put it there" in raised.value.remedy


def test_without_a_network_the_message_says_what_to_put_where(server, tmp_path):
    server.server_close()
    server.shutdown()
    with pytest.raises(DataError, match=r"cannot be downloaded \(\[Errno") as raised:
        fetch([published(server)], tmp_path)
    assert f"download {server.url}/data.bin and put it there" in raised.value.remedy


@pytest.mark.parametrize("scheme", ["http", "file", "ftp"])
def test_only_https_is_allowed(scheme, tmp_path):
    file = Published("data.bin", f"{scheme}://127.0.0.1/etc/hostname", 10, "0" * 64)
    with pytest.raises(DataError, match="not an address with https"):
        fetch([file], tmp_path)


def test_a_redirection_is_followed_and_still_resumes(server, tmp_path):
    server.redirects = {"old.bin": f"{server.url}/data.bin"}
    file = Published(
        "data.bin", f"{server.url}/old.bin", len(CONTENT), hashlib.sha256(CONTENT).hexdigest()
    )
    (tmp_path / "data.bin.part").write_bytes(CONTENT[:1000])
    fetch([file], tmp_path)
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert server.requests[-1] == ("data.bin", "bytes=1000-")


def test_a_redirection_to_another_scheme_is_refused(server, tmp_path):
    server.redirects = {"data.bin": "ftp://127.0.0.1/data.bin"}
    with pytest.raises(DataError, match="not an address with http"):
        fetch([published(server)], tmp_path)


def test_two_downloads_at_once_give_one_good_file(server, tmp_path):
    threads = [
        threading.Thread(target=fetch, args=([published(server)], tmp_path)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(server.requests) == 1
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert [path.name for path in tmp_path.iterdir()] == ["data.bin"]


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_file_has_https_a_size_and_a_sum(name):
    for file in PUBLISHED[name]:
        assert file.url.startswith("https://")
        assert file.url.endswith(f"/{file.name}")
        assert file.size > 0
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)


def test_the_files_of_a_named_data_set_are_downloaded(server, tmp_path, monkeypatch):
    images = b"\0\0\x08\x03" + np.array([20, 2, 3], ">u4").tobytes() + bytes(120)
    labels = b"\0\0\x08\x01" + np.array([20], ">u4").tobytes() + bytes(range(10)) * 2
    files = []
    for file in PUBLISHED["kmnist"]:
        content = gzip.compress(images if "images" in file.name else labels)
        server.files[file.name] = content
        files.append(published(server, file.name, content))
    monkeypatch.setitem(PUBLISHED, "kmnist", tuple(files))
    root = tmp_path / "new"
    dataset = datasets.build("idx", {"root": str(root), "publication": "kmnist", "download": True})
    assert len(dataset.train) == 20
    assert sorted(path.name for path in root.iterdir()) == sorted(file.name for file in files)
    # A file that is there without .gz is not downloaded either.
    name = files[0].name
    (root / name.removesuffix(".gz")).write_bytes(gzip.decompress(server.files[name]))
    (root / name).unlink()
    datasets.build("idx", {"root": str(root), "publication": "kmnist", "download": True})
    (root / files[1].name).unlink()
    with pytest.raises(DataError, match="there is no such file"):
        datasets.build("idx", {"root": str(root), "publication": "kmnist"})
    assert len(server.requests) == 4


def test_a_download_needs_a_publication(tmp_path):
    with pytest.raises(ConfigError, match=r"^dataset\.download: "):
        datasets.build("idx", {"root": str(tmp_path), "download": True})
