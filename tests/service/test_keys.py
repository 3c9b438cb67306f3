"""Keys on disk, in the running server, and from the command line."""

import json
import os
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import cli
from service.errors import KeyFileError
from service.key_commands import seconds
from service.key_ring import KeyRing, RequestRate
from service.keys import KeyFile, hash_of


class Clock:
    """Unix seconds that the test sets."""

    def __init__(self, now_s: float) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "state")


def only(file: KeyFile) -> float:
    """Unix seconds at which the only key's secret was made."""
    (key,) = file.read() or ()
    return float(key.created_at)


def test_the_secret_is_nowhere_on_disk(file: KeyFile) -> None:
    secret = file.create("ada")
    assert secret.startswith("cepstra_")
    assert len(secret) == len("cepstra_") + 43  # 256 bits in base 64
    written = [path.read_text() for path in file.path.parent.iterdir()]
    assert not any(secret.removeprefix("cepstra_") in text for text in written)
    assert any(hash_of(secret) in text for text in written)
    assert file.create("bob") != secret


def test_only_the_owner_can_read_it(file: KeyFile) -> None:
    previous = os.umask(0)
    try:
        file.create("ada")
        file.create("bob")
    finally:
        os.umask(previous)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
    assert sorted(path.name for path in file.path.parent.iterdir()) == ["keys.json", "keys.lock"]


def test_a_write_that_fails_leaves_what_was_there(file: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = file.create("ada")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(KeyFileError, match="No space left"):
        file.create("bob")
    assert KeyRing(file).find(secret) is not None
    assert sorted(path.name for path in file.path.parent.iterdir()) == ["keys.json", "keys.lock"]


def test_writers_at_the_same_time_lose_nothing(file: KeyFile) -> None:
    names = [f"key-{number}" for number in range(20)]
    with ThreadPoolExecutor(5) as pool:
        secrets = list(pool.map(file.create, names))
    ring = KeyRing(file)
    assert [key.name for secret in secrets if (key := ring.find(secret))] == names


def test_without_a_file_no_key_is_needed_and_from_the_first_on_one_is(file: KeyFile) -> None:
    ring = KeyRing(file)
    assert [ring.required] == [False]
    secret = file.create("ada", ("jobs", "admin"), requests_per_minute=30, concurrency=2)
    assert ring.required
    key = ring.find(secret)
    assert key is not None
    assert (key.name, key.scopes, key.requests_per_minute, key.concurrency) == ("ada", ("jobs", "admin"), 30, 2)
    for wrong in ("", "cepstra_", secret[:-1], secret + "x", hash_of(secret), "\udcff"):
        assert ring.find(wrong) is None


def test_a_revoked_key_is_refused_at_once_and_keys_stay_needed(file: KeyFile) -> None:
    ring = KeyRing(file)
    secret = file.create("ada")
    assert ring.find(secret)
    file.revoke("ada")
    assert ring.find(secret) is None
    assert ring.required
    assert KeyRing(file).required


def test_a_key_ends_when_it_expires(file: KeyFile) -> None:
    clock = Clock(999.0)
    ring = KeyRing(file, clock)
    secret = file.create("ada", expires_at=1000)
    assert ring.find(secret)
    clock.now_s = 1000.0
    assert ring.find(secret) is None


def test_a_rotated_key_has_two_secrets_for_a_while(file: KeyFile) -> None:
    first = file.create("ada", ("jobs",), concurrency=3)
    second = file.rotate("ada", grace_s=60)
    clock = Clock(only(file) + 59)
    ring = KeyRing(file, clock)
    assert ring.find(first) == ring.find(second) != None  # noqa: E711  both are the key, and there is one
    clock.now_s += 1
    assert ring.find(first) is None
    key = ring.find(second)
    assert key is not None
    assert (key.scopes, key.concurrency) == (("jobs",), 3)
    third = file.rotate("ada", grace_s=0)
    assert (ring.find(second), ring.find(third) is not None) == (None, True)


def test_a_key_has_an_id_that_outlives_rotations_and_no_name(file: KeyFile) -> None:
    def owner() -> str:
        (key,) = file.read() or ()
        return key.owner

    file.create("ada")
    first = owner()
    file.rotate("ada", grace_s=0)
    assert owner() == first != "ada"
    file.revoke("ada")
    file.create("ada")
    assert owner() not in (first, "ada")


def test_a_key_of_an_older_version_is_known_by_its_name(file: KeyFile) -> None:
    key = {"name": "ada", "sha256": "0" * 64, "scopes": ["jobs"], "created_at": 0}
    file.path.parent.mkdir()
    file.path.write_text(json.dumps({"format_version": 1, "keys": [key]}))
    file.rotate("ada", grace_s=0)
    file.create("bob")
    ada, bob = file.read() or ()
    assert ada.owner == "ada" and bob.owner != "bob"


def test_a_rotation_does_not_outlive_the_expiry(file: KeyFile) -> None:
    first = file.create("ada", expires_at=1000)
    file.rotate("ada", grace_s=10**6)
    assert KeyRing(file, Clock(2000.0)).find(first) is None


def test_a_file_that_vanishes_lets_nobody_in(file: KeyFile) -> None:
    ring = KeyRing(file)
    secret = file.create("ada")
    assert ring.find(secret)
    contents = file.path.read_bytes()
    file.path.unlink()
    assert ring.required
    assert ring.find(secret) is None
    file.path.write_bytes(contents)
    assert ring.find(secret)


@pytest.mark.parametrize("contents", ["", "{}", "[]", '{"format_version": 3, "keys": []}', '{"keys": [{}]}'])
def test_a_damaged_file_keeps_the_keys_known_last(file: KeyFile, contents: str) -> None:
    ring = KeyRing(file)
    secret = file.create("ada")
    assert ring.find(secret)
    file.path.write_text(contents)
    assert ring.find(secret)
    assert ring.find("wrong") is None
    fresh = KeyRing(file)
    assert fresh.required
    assert fresh.find(secret) is None
    with pytest.raises(KeyFileError, match=r"is damaged|a newer one wrote it"):
        file.read()


def test_a_file_that_cannot_be_read_is_not_no_file(tmp_path: Path) -> None:
    (tmp_path / "keys.json").mkdir()
    with pytest.raises(KeyFileError, match="cannot be read"):
        KeyFile(tmp_path).read()
    assert KeyRing(KeyFile(tmp_path)).required


def test_damage_is_told_with_its_place_where_it_has_one(file: KeyFile) -> None:
    file.path.parent.mkdir()
    for contents, message in (("no JSON", "is damaged: Invalid JSON"), ("{}", "is damaged: format_version: Field")):
        file.path.write_text(contents)
        with pytest.raises(KeyFileError, match=message):
            file.read()


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "a\n", "x" * 65, "ä"])
def test_names(file: KeyFile, name: str) -> None:
    with pytest.raises(KeyFileError, match="name is"):
        file.create(name)
    assert file.read() is None


def test_a_name_is_given_once(file: KeyFile) -> None:
    file.create("ada")
    with pytest.raises(KeyFileError, match="a key 'ada' already"):
        file.create("ada")
    with pytest.raises(KeyFileError, match="no key 'bob'"):
        file.revoke("bob")


def test_every_key_is_compared_in_constant_time(file: KeyFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also those after the right one, and with nothing but hmac.compare_digest."""
    secrets = [file.create(name) for name in "abc"]
    ring = KeyRing(file)
    compared = []

    def compare(one: str, other: str) -> bool:
        compared.append(one)
        return one == other

    monkeypatch.setattr("hmac.compare_digest", compare)
    for secret in (*secrets, "wrong"):
        compared.clear()
        ring.find(secret)
        assert [value for value in compared if value] == [hash_of(each) for each in secrets]


def test_rate_just_under_and_just_over() -> None:
    clock = Clock(100.0)
    rate = RequestRate(clock)
    assert [rate.wait_s("ada", 3) for _ in range(3)] == [0, 0, 0]
    assert rate.wait_s("ada", 3) == pytest.approx(20)
    assert rate.wait_s("bob", 3) == 0
    clock.now_s += 19.9
    assert rate.wait_s("ada", 3) == pytest.approx(0.1)
    clock.now_s += 0.1
    assert rate.wait_s("ada", 3) == 0
    assert rate.wait_s("ada", 3) == pytest.approx(20)
    clock.now_s += 1000
    assert [bool(rate.wait_s("ada", 3)) for _ in range(4)] == [False, False, False, True]


# ---- the command line


@pytest.fixture
def keys(file: KeyFile) -> Callable[..., Result]:
    """Runs `cepstra keys …` on the test's own folder."""

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(cli.app, ["keys", *arguments], env={"CEPSTRA_STATE_DIR": str(file.path.parent)})

    return run


def test_create_prints_the_secret_and_nothing_else(file: KeyFile, keys: Callable[..., Result]) -> None:
    result = keys("create", "ada", "--scopes", "transcribe,jobs", "--rate", "60", "--expires", "90d")
    assert (result.exit_code, result.stderr) == (0, "")
    key = KeyRing(file).find(result.stdout.rstrip("\n"))
    assert key is not None
    assert (key.scopes, key.requests_per_minute, key.concurrency) == (("transcribe", "jobs"), 60, None)
    assert key.expires_at == pytest.approx(key.created_at + 90 * 86400, abs=5)
    assert json.loads(file.path.read_text())["keys"][0]["name"] == "ada"


def test_list_revoke_and_rotate(file: KeyFile, keys: Callable[..., Result]) -> None:
    assert "no keys" in keys("list").stderr
    first = keys("create", "ada").stdout.strip()
    keys("create", "bob", "--scopes", "admin", "--concurrency", "4")
    listed = [line.split() for line in keys("list").stdout.splitlines()]
    assert [line[:2] for line in listed] == [["NAME", "SCOPES"], ["ada", "transcribe"], ["bob", "admin"]]
    assert listed[2][-3:] == ["never", "-", "4"]
    second = keys("rotate", "ada", "--grace", "0s").stdout.strip()
    ring = KeyRing(file)
    assert (ring.find(first), ring.find(second) is not None) == (None, True)
    assert keys("revoke", "ada").exit_code == 0
    assert ring.find(second) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("create", "a b"),
            "name is 'a b': letters, digits, '.', '_' and '-' are possible, at most 64, beginning with",
        ),
        (("create", "ada", "--scopes", "jobs,all"), "scopes is 'all'"),
        (("create", "ada", "--expires", "soon"), "'soon' is no length of time"),
        (("revoke", "ada"), "no key 'ada'"),
        (("rotate", "ada"), "no key 'ada'"),
    ],
)
def test_what_goes_wrong_is_one_line(keys: Callable[..., Result], arguments: tuple[str, ...], message: str) -> None:
    result = keys(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_lengths_of_time() -> None:
    assert [seconds(text) for text in ("45s", "30m", "12h", "90d", "0s")] == [45, 1800, 43200, 90 * 86400, 0]
    for wrong in ("", "1", "1w", "-1d", "1.5h", "1d "):
        with pytest.raises(KeyFileError):
            seconds(wrong)


def test_a_reader_never_sees_half_a_file(file: KeyFile) -> None:
    first = file.create("first")
    done = threading.Event()
    ring = KeyRing(file)
    missed = []

    def read() -> None:
        while not done.is_set():
            missed.append(ring.find(first) is None)

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(30):
        file.create(f"key-{number}")
    done.set()
    reader.join()
    assert missed
    assert not any(missed)
