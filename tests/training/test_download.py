"""Downloading from a server of our own that misbehaves on demand, with archives as small as they can be."""

import functools
import hashlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections import namedtuple
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from typer.testing import CliRunner, Result

import cli
from tests.conftest import SpokenClip
from training import download as module
from training.corpora import read_corpus
from training.download import download
from training.errors import DownloadError
from training.librispeech import PARTS, RECIPE_DATA, RECIPES, Part, find_parts, next_commands
from training.recipe import load_recipe
from training.selection import with_durations


@dataclass
class Mirror:
    """An OpenSLR that serves `files` by path, and does something else once for each entry of `faults`.

    A fault is a status (404), `("cut", n)` to break off after n bytes, `"ignore"` to send everything whatever range was
    asked for, `("begin", n)` to send a range from n on whatever was asked for, or `""` for none.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[object] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)  # the Range header of each request
    url: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        asked = handler.headers.get("Range")
        self.ranges.append(asked)
        fault = self.faults.pop(0) if self.faults else ""
        content = self.files.get(handler.path)
        if content is None or isinstance(fault, int):
            handler.send_error(fault if isinstance(fault, int) else 404)
            return
        kind, number = fault if isinstance(fault, tuple) else (fault, 0)
        begin = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and kind != "ignore" else 0
        begin = number if kind == "begin" else begin
        handler.send_response(206 if asked and kind != "ignore" else 200)
        handler.send_header("Content-Length", str(len(content) - begin))
        handler.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        handler.end_headers()
        handler.wfile.write(content[begin : begin + number] if kind == "cut" else content[begin:])


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    state = Mirror()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.answer(self)

        def log_message(self, *arguments: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=functools.partial(server.serve_forever, poll_interval=0.01))
        thread.start()
        state.url = f"http://127.0.0.1:{server.server_port}/resources"
        yield state
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(module, "BLOCK_BYTES", 1024)


def pack(members: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    """A `.tar.gz` of these files and symbolic links."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return stream.getvalue()


def offer(mirror: Mirror, name: str, archive: bytes) -> Part:
    """Put an archive on the server, and say what is published about it."""
    resource = PARTS[name].resource
    mirror.files[f"/resources/{resource}/{name}.tar.gz"] = archive
    return Part(name, resource, len(archive), hashlib.md5(archive).hexdigest())


def librispeech_archive(clips: list[SpokenClip], name: str, speaker: str = "84") -> bytes:
    """The synthetic clips, laid out and packed as a part of LibriSpeech is."""
    chapter = f"LibriSpeech/{name}/{speaker}/121123/{speaker}-121123"
    members = {"LibriSpeech/README.TXT": b"about the corpus\n"}
    for number, clip in enumerate(clips):
        members[f"{chapter}-{number:04}.flac"] = clip.path.read_bytes()
    lines = [f"{speaker}-121123-{number:04} {clip.transcript}\n" for number, clip in enumerate(clips)]
    return pack({**members, f"{chapter}.trans.txt": "".join(lines).encode()})


@pytest.fixture
def part(mirror: Mirror, synthetic_clips: list[SpokenClip]) -> Part:
    """dev-clean-2 on the server, with two clips."""
    return offer(mirror, "dev-clean-2", librispeech_archive(synthetic_clips[:2], "dev-clean-2"))


def test_a_part_is_fetched_checked_and_unpacked(
    mirror: Mirror, part: Part, synthetic_clips: list[SpokenClip], tmp_path: Path
) -> None:
    seen: dict[str, list[tuple[int, int]]] = {}

    @contextmanager
    def progress(what: str) -> Iterator[module.Advance]:
        yield lambda done, total: seen.setdefault(what, []).append((done, total))

    (folder,) = download([part], tmp_path / "data", base_url=mirror.url + "/", progress=progress)
    assert folder == tmp_path / "data" / "LibriSpeech" / "dev-clean-2"
    utterances = read_corpus(folder)
    assert [u.transcript for u in utterances] == [clip.transcript for clip in synthetic_clips[:2]]
    assert [u.path.read_bytes() for u in utterances] == [clip.path.read_bytes() for clip in synthetic_clips[:2]]
    assert utterances == read_corpus(folder.parent, where={"subset": "dev-clean-2"})
    assert sorted(path.name for path in folder.parent.iterdir()) == ["README.TXT", "dev-clean-2"]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["LibriSpeech"]  # neither archive nor scratch
    assert list(seen) == ["downloading dev-clean-2", "checking dev-clean-2", "unpacking dev-clean-2"]
    for steps in seen.values():
        assert steps == sorted(steps) and steps[-1] == (part.size_bytes, part.size_bytes)
    assert mirror.ranges == [None]


def test_what_is_there_is_not_fetched_again(mirror: Mirror, part: Part, tmp_path: Path) -> None:
    first = download([part], tmp_path, base_url=mirror.url, keep_archives=True)
    assert (tmp_path / "dev-clean-2.tar.gz").stat().st_size == part.size_bytes
    assert download([part], tmp_path, base_url=mirror.url) == first
    shutil.rmtree(first[0])
    download([part], tmp_path, base_url=mirror.url)  # from the archive that was kept
    assert first[0].is_dir()
    assert len(mirror.ranges) == 1


def test_a_broken_connection_goes_on_from_the_same_byte(
    mirror: Mirror, part: Part, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    third = part.size_bytes // 3
    mirror.faults = [("cut", third), 503, ("cut", third), ("cut", 0)]
    (folder,) = download([part], tmp_path, base_url=mirror.url)
    assert len(read_corpus(folder)) == 2
    assert mirror.ranges == [None, f"bytes={third}-", f"bytes={third}-", f"bytes={2 * third}-", f"bytes={2 * third}-"]
    assert f"broke off at byte {third} of {part.size_bytes}: the server closed the connection" in caplog.text
    assert "HTTP 503" in caplog.text


def test_an_interrupted_download_goes_on_in_the_next_call(mirror: Mirror, part: Part, tmp_path: Path) -> None:
    @contextmanager
    def impatient(what: str) -> Iterator[module.Advance]:
        def advance(done: int, total: int) -> None:
            if done > total / 2:
                raise KeyboardInterrupt

        yield advance

    with pytest.raises(KeyboardInterrupt):
        download([part], tmp_path, base_url=mirror.url, progress=impatient)
    have = (tmp_path / "dev-clean-2.tar.gz").stat().st_size
    assert part.size_bytes / 2 < have < part.size_bytes
    (folder,) = download([part], tmp_path, base_url=mirror.url)
    assert len(read_corpus(folder)) == 2
    assert mirror.ranges == [None, f"bytes={have}-"]


def test_a_server_that_ignores_ranges_sends_it_all_again(mirror: Mirror, part: Part, tmp_path: Path) -> None:
    mirror.faults = [("cut", part.size_bytes // 2), "ignore"]
    (folder,) = download([part], tmp_path, base_url=mirror.url)
    assert len(read_corpus(folder)) == 2
    assert mirror.ranges == [None, f"bytes={part.size_bytes // 2}-"]


def test_a_server_that_brings_nothing_is_given_up(mirror: Mirror, part: Part, tmp_path: Path) -> None:
    mirror.faults = [("cut", 1000), *[500] * 9]
    with pytest.raises(DownloadError, match=r"broke off at byte 1000 of \d+: HTTP 500.*goes on from there"):
        download([part], tmp_path, base_url=mirror.url)
    assert len(mirror.ranges) == 1 + len(module.PAUSES_S)
    mirror.faults = []
    assert download([part], tmp_path, base_url=mirror.url)[0].is_dir()
    assert mirror.ranges[-1] == "bytes=1000-"


def test_nobody_at_the_other_end(part: Part, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"broke off at byte 0 of .*refused"):
        download([part], tmp_path, base_url="http://127.0.0.1:1")


def test_a_corrupt_archive_is_named_deleted_and_fetched_once_more(
    mirror: Mirror, part: Part, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive = tmp_path / "dev-clean-2.tar.gz"
    archive.write_bytes(b"\0" * part.size_bytes)
    (folder,) = download([part], tmp_path, base_url=mirror.url)
    assert len(read_corpus(folder)) == 2
    assert f"{archive} was corrupt" in caplog.text
    assert part.md5 in caplog.text
    assert mirror.ranges == [None]


def test_an_archive_that_is_corrupt_twice_is_refused(mirror: Mirror, part: Part, tmp_path: Path) -> None:
    path = "/resources/31/dev-clean-2.tar.gz"
    mirror.files[path] = bytes([mirror.files[path][0] ^ 1]) + mirror.files[path][1:]
    with pytest.raises(DownloadError, match=rf"dev-clean-2.tar.gz was corrupt: .*{part.md5}.*second time.*deleted"):
        download([part], tmp_path, base_url=mirror.url)
    assert mirror.ranges == [None, None]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fault", [404, 403])
def test_what_a_server_does_not_have_is_said_at_once(mirror: Mirror, part: Part, tmp_path: Path, fault: int) -> None:
    mirror.faults = [fault] * 9
    with pytest.raises(DownloadError, match=rf"31/dev-clean-2.tar.gz: HTTP {fault} .*another base URL"):
        download([part], tmp_path, base_url=mirror.url)
    assert len(mirror.ranges) == 1


def test_an_archive_of_another_size_is_not_even_fetched(mirror: Mirror, part: Part, tmp_path: Path) -> None:
    mirror.files["/resources/31/dev-clean-2.tar.gz"] += b"more"
    with pytest.raises(
        DownloadError, match=rf"to {part.size_bytes + 4}; the archive of dev-clean-2 has {part.size_bytes}"
    ):
        download([part], tmp_path, base_url=mirror.url)


def test_bytes_that_would_leave_a_hole_are_refused(mirror: Mirror, part: Part, tmp_path: Path) -> None:
    mirror.faults = [("cut", 1000), ("begin", 2000)]
    with pytest.raises(DownloadError, match=r"answers with bytes 2000 .* from 1000 on were asked for"):
        download([part], tmp_path, base_url=mirror.url)
    assert (tmp_path / "dev-clean-2.tar.gz").stat().st_size == 1000


@pytest.mark.parametrize("name", ["LibriSpeech/../../escaped", "../escaped", "{elsewhere}/escaped", "escaped"])
def test_members_outside_the_corpus_are_refused(mirror: Mirror, tmp_path: Path, name: str) -> None:
    name = name.format(elsewhere=tmp_path)
    bad = offer(mirror, "dev-clean", pack({"LibriSpeech/dev-clean/1/2/1-2.trans.txt": b"", name: b"!"}))
    with pytest.raises(DownloadError, match=f"holds '{re.escape(name)}'.*nothing is unpacked"):
        download([bad], tmp_path / "data", base_url=mirror.url)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["dev-clean.tar.gz"]
    assert not list(tmp_path.rglob("escaped"))


def test_links_are_refused(mirror: Mirror, tmp_path: Path) -> None:
    bad = offer(mirror, "dev-clean", pack({}, links={"LibriSpeech/dev-clean": str(tmp_path)}))
    with pytest.raises(DownloadError, match="holds 'LibriSpeech/dev-clean', which is no file or folder"):
        download([bad], tmp_path / "data", base_url=mirror.url)


def test_an_archive_without_its_part_is_refused(mirror: Mirror, tmp_path: Path) -> None:
    other = offer(mirror, "dev-clean", pack({"LibriSpeech/dev-other/1/2/1-2.trans.txt": b""}))
    with pytest.raises(DownloadError, match="has no folder LibriSpeech/dev-clean"):
        download([other], tmp_path, base_url=mirror.url)
    assert not (tmp_path / "LibriSpeech").exists()


def test_an_unpacking_that_was_killed_begins_anew(mirror: Mirror, part: Part, tmp_path: Path) -> None:
    left_over = tmp_path / ".unpacking-dev-clean-2" / "LibriSpeech" / "dev-clean-2" / "half.flac"
    left_over.parent.mkdir(parents=True)
    left_over.write_bytes(b"half")
    (folder,) = download([part], tmp_path, base_url=mirror.url)
    assert not list(tmp_path.rglob("half.flac"))
    assert len(read_corpus(folder)) == 2


def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    parts = find_parts("librispeech", ["train-clean-100", "dev-clean"])
    unpacked_bytes = sum(part.size_bytes for part in parts) * module.UNPACKED_SHARE
    for keep, archives_bytes in ((False, parts[0].size_bytes), (True, sum(part.size_bytes for part in parts))):
        needed = round(unpacked_bytes + archives_bytes)
        monkeypatch.setattr(shutil, "disk_usage", lambda path, needed=needed: usage(0, 0, needed - 1000))
        message = rf"GB free; train-clean-100, dev-clean and .* need {needed / 1e9:.1f} GB"
        with pytest.raises(DownloadError, match=message):
            download(parts, tmp_path, base_url=mirror.url, keep_archives=keep)
        monkeypatch.setattr(shutil, "disk_usage", lambda path, needed=needed: usage(0, 0, needed + 1000))
        with pytest.raises(DownloadError, match="HTTP 404"):
            download(parts, tmp_path, base_url=mirror.url, keep_archives=keep)
    assert len(mirror.ranges) == 2


@pytest.mark.parametrize("base_url", ["openslr.org", "ftp://mirror/resources", "file:///mnt"])
def test_a_base_url_is_http(part: Part, tmp_path: Path, base_url: str) -> None:
    with pytest.raises(DownloadError, match="must begin with http"):
        download([part], tmp_path, base_url=base_url)


def test_parts_are_found_by_name() -> None:
    assert [part.name for part in find_parts("mini_librispeech")] == ["dev-clean-2", "train-clean-5"]
    assert len(find_parts("librispeech")) == 7
    assert find_parts("librispeech", ["dev-other", "dev-other"]) == [PARTS["dev-other"]]
    for corpus, names, message in (
        ("librispeech", ["train-clean-5"], "librispeech has no part 'train-clean-5'; it has dev-clean, dev-other"),
        ("librispeech", [""], "has no part ''"),
        ("librivox", None, "no corpus 'librivox'; there are librispeech, mini_librispeech"),
    ):
        with pytest.raises(DownloadError, match=message):
            find_parts(corpus, names)


def test_the_published_checksums_are_whole() -> None:
    assert all(re.fullmatch("[0-9a-f]{32}", part.md5) for part in PARTS.values())
    assert len({part.md5 for part in PARTS.values()}) == len({part.size_bytes for part in PARTS.values()}) == len(PARTS)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_recipes_look_where_the_download_puts_it(recipe: str) -> None:
    train, dev = RECIPES[recipe]
    data = load_recipe(recipe).data
    assert data.train == tuple(str(RECIPE_DATA / "LibriSpeech" / name) for name in train)
    assert data.dev == str(RECIPE_DATA / "LibriSpeech" / dev)
    assert load_recipe(recipe).name == f"cepstra-{recipe}"  # names the run's folder, and so the bundle's


@pytest.mark.parametrize(
    ("asked", "out", "there", "expected"),
    [
        (
            "train-clean-100 dev-clean",
            "data",
            "dev-clean",
            "train clean100|evaluate --manifest data/LibriSpeech/dev-clean --bundle runs/cepstra-clean100/bundle",
        ),
        (
            "train-clean-5 dev-clean-2",
            "data",
            "dev-clean dev-clean-2",
            "train mini|evaluate --manifest data/LibriSpeech/dev-clean-2 --bundle runs/cepstra-mini/bundle",
        ),
        (
            "train-clean-360",
            "data",
            "dev-clean",
            "train clean100 --train data/LibriSpeech/train-clean-360 --dev data/LibriSpeech/dev-clean|"
            "evaluate --manifest data/LibriSpeech/dev-clean --bundle runs/cepstra-clean100/bundle",
        ),
        (
            "train-clean-100",
            "data",
            "",
            "data download librispeech --parts dev-clean --out data|train clean100|"
            "evaluate --manifest data/LibriSpeech/dev-clean --bundle runs/cepstra-clean100/bundle",
        ),
        (
            "train-clean-5",
            "big disk",
            "dev-other",
            "train mini --train 'big disk/LibriSpeech/train-clean-5' --dev 'big disk/LibriSpeech/dev-other'|"
            "evaluate --manifest 'big disk/LibriSpeech/dev-other' --bundle runs/cepstra-mini/bundle",
        ),
        (
            "test-other dev-clean",
            "data",
            "dev-clean",
            "evaluate --manifest data/LibriSpeech/test-other|evaluate --manifest data/LibriSpeech/dev-clean",
        ),
    ],
)
def test_what_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, out: str, there: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in there.split():
        (tmp_path / out / "LibriSpeech" / name).mkdir(parents=True)
    commands = next_commands([PARTS[name] for name in asked.split()], out)
    assert commands == [f"cepstra {command}" for command in expected.split("|")]


def cepstra(command: str) -> Result:
    """What a command line prints, run in this process."""
    _, *words = shlex.split(command)
    return CliRunner().invoke(cli.app, words)


def test_from_nothing_to_a_number_by_the_commands_that_are_printed(
    mirror: Mirror, synthetic_clips: list[SpokenClip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, clips in (("train-clean-5", synthetic_clips[:5]), ("dev-clean-2", synthetic_clips[5:])):
        monkeypatch.setitem(PARTS, name, offer(mirror, name, librispeech_archive(clips, name)))
    mirror.faults = [("cut", 5000)]
    downloaded = cepstra(f"cepstra data download mini_librispeech --base-url {mirror.url}")
    assert downloaded.exit_code == 0, downloaded.output
    assert downloaded.stderr.count("downloading") == 2
    folders, commands = downloaded.stdout.split("\nnext:\n")
    assert folders.split() == ["data/LibriSpeech/dev-clean-2", "data/LibriSpeech/train-clean-5"]
    train, evaluate = (line.strip() for line in commands.splitlines())
    trained = cepstra(f"{train} --epochs 1 --accelerator cpu")
    assert trained.exit_code == 0, trained.output
    assert "5 utterances" in trained.stderr
    evaluated = cepstra(f"{evaluate} --json numbers.json")
    assert evaluated.exit_code == 0, evaluated.output
    assert json.loads(Path("numbers.json").read_text())["words"] == len(synthetic_clips[5].transcript.split())
    refused = cepstra("cepstra data download mini_librispeech --parts dev-clean")
    assert refused.exit_code == 1
    assert refused.stderr == ("cepstra: mini_librispeech has no part 'dev-clean'; it has dev-clean-2, train-clean-5\n")


def test_a_tree_of_recorded_speech_is_prepared_trained_on_and_evaluated(
    speech_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tree = lay_out(speech_data, tmp_path, {"train-clean-5": 2, "dev-clean": 1})
    for name, subset, count in (("train", "train-clean-5", 2), ("dev", "dev-clean", 1)):
        prepared = cepstra(f"cepstra data prepare {tree} {name}.tsv --where subset={subset}")
        assert prepared.exit_code == 0, prepared.output
        assert f"{count} utterances" in prepared.stdout
    stated = with_durations(read_corpus(tree, where={"subset": "train-clean-5"}))
    assert [u.duration_s for u in stated] == pytest.approx([u.duration_s for u in read_corpus("train.tsv")], abs=1e-3)
    trained = cepstra("cepstra train mini --train train.tsv --dev dev.tsv --epochs 1 --accelerator cpu --out run")
    assert trained.exit_code == 0, trained.output
    evaluated = cepstra("cepstra evaluate --manifest dev.tsv --bundle run/bundle --json numbers.json")
    assert evaluated.exit_code == 0, evaluated.output
    assert json.loads(Path("numbers.json").read_text())["utterances"] == 1


def lay_out(speech_data: Path, tmp_path: Path, counts: dict[str, int]) -> Path:
    """The first utterances of some subsets as a LibriSpeech tree, made by the script that lies beside them."""
    source = tmp_path / "source" / "librispeech"
    source.mkdir(parents=True)
    shutil.copy(speech_data / "as-librispeech", source.parent)
    shutil.copy(speech_data / "librispeech" / "SPEAKERS.TXT", source)
    header, *rows = (speech_data / "librispeech" / "manifest.tsv").read_text(encoding="utf-8").splitlines()
    kept = [header]
    for subset, count in counts.items():
        (source / subset).symlink_to(speech_data / "librispeech" / subset)
        kept += [row for row in rows if f"\t{subset}\t" in row][:count]
    (source / "manifest.tsv").write_text("\n".join(kept) + "\n", encoding="utf-8")
    subprocess.run([sys.executable, source.parent / "as-librispeech", tmp_path], check=True, capture_output=True)
    return tmp_path / "LibriSpeech"
