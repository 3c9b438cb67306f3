"""Messages about the end of jobs: signed, retried, recorded, replayed, and never to where they must not go."""

import ipaddress
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import openai
import pytest
from sqlalchemy import select, update

from service.errors import InvalidRequestError, JobNotFoundError, JobsUnavailableError
from service.jobs import schema
from service.jobs.job import Job
from service.jobs.jobs import Jobs
from service.jobs.outbound import OutboundError, check_url, is_allowed, post
from service.jobs.signing import SecretFile, signed_headers
from service.networks import parse_networks
from tests.service.conftest import wait_until
from tests.service.jobs.conftest import on_sqlite
from tests.service.jobs.receiver import Receiver, receiving
from tests.service.jobs.test_jobs import Ear, Make, ends, submit

LOOPBACK = parse_networks("127.0.0.0/8")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as running:
        yield running


@pytest.fixture
def telling(make_jobs: Make) -> Callable[..., Jobs]:
    """Jobs whose webhooks may reach the receiver."""

    def make(**settings: object) -> Jobs:
        jobs = make_jobs(Ear(), webhook_networks="127.0.0.0/8", **settings)
        jobs.start()
        jobs.start_working()
        return jobs

    return make


def statuses(jobs: Jobs, job: Job) -> list[str]:
    return [message["status"] for message in jobs.webhooks(job.id)]


@on_sqlite
def test_a_message_can_be_verified(telling: Callable[..., Jobs], receiver: Receiver, tmp_path: Path) -> None:
    """By the official client, which follows the same standard, with the secret that an operator finds on disk."""
    jobs = telling()
    job = submit(jobs, webhook_url=receiver.url)
    done = ends(jobs, job)
    wait_until(lambda: statuses(jobs, job) == ["delivered"])
    ((headers, body),) = receiver.messages
    file = tmp_path / "state" / "jobs" / "webhook-secret"
    assert file.stat().st_mode & 0o777 == 0o600
    client = openai.OpenAI(api_key="none", webhook_secret=file.read_text().strip())
    client.webhooks.verify_signature(body, headers)
    with pytest.raises(openai.InvalidWebhookSignatureError):
        client.webhooks.verify_signature(body + b" ", headers)
    message = json.loads(body)
    assert message["type"] == "transcription.job.completed"
    assert message["data"] == done.as_object()
    (told,) = jobs.webhooks(job.id)
    assert headers["webhook-id"] == told["id"]
    assert headers["content-type"] == "application/json"
    assert [(attempt["number"], attempt["status_code"]) for attempt in told["attempts"]] == [(1, 204)]


def test_it_is_retried_recorded_and_replayed(telling: Callable[..., Jobs], receiver: Receiver) -> None:
    jobs = telling(webhook_retry_s=0.01)
    receiver.answers = [500, 302, 429]
    job = submit(jobs, webhook_url=receiver.url)
    wait_until(lambda: statuses(jobs, job) == ["delivered"])
    (told,) = jobs.webhooks(job.id)
    assert [attempt["status_code"] for attempt in told["attempts"]] == [500, 302, 429, 204]
    assert told["next_attempt_at"] is None
    again = jobs.replay(job.id, told["id"])
    assert again["status"] == "pending"
    wait_until(lambda: statuses(jobs, job) == ["delivered"])
    assert len(receiver.messages) == 5
    assert {headers["webhook-id"] for headers, _ in receiver.messages} == {told["id"]}
    with pytest.raises(JobNotFoundError, match="has no webhook message"):
        jobs.replay(job.id, "msg_unknown\0")


@on_sqlite
def test_it_is_given_up_after_enough_tries_or_when_the_receiver_is_gone(
    telling: Callable[..., Jobs], receiver: Receiver
) -> None:
    jobs = telling(webhook_retry_s=0.01, webhook_attempts=2)
    receiver.answers = [500, 500]
    job = submit(jobs, webhook_url=receiver.url)
    wait_until(lambda: statuses(jobs, job) == ["failed"])
    assert len(receiver.messages) == 2
    receiver.answers = [410]
    gone = submit(jobs, webhook_url=receiver.url)
    wait_until(lambda: statuses(jobs, gone) == ["failed"])
    assert len(receiver.messages) == 3
    jobs.replay(job.id, jobs.webhooks(job.id)[0]["id"])
    wait_until(lambda: statuses(jobs, job) == ["delivered"])


@on_sqlite
def test_the_pause_doubles(make_jobs: Make) -> None:
    jobs = make_jobs(Ear(), webhook_retry_s=8.0)
    job = submit(jobs, webhook_url="https://example.com")
    jobs.remove(job.id)
    pauses = []
    for _ in range(3):
        attempt = jobs._outbox.claim()
        assert attempt
        jobs._outbox.record(attempt, 0.0, 500, None)
        with jobs._database.write() as connection:
            due_s = connection.execute(select(schema.deliveries.c.next_at)).scalar_one()
            pauses.append(due_s - jobs._database.now_s(connection))
            connection.execute(update(schema.deliveries).values(next_at=0.0))
    # Up to a tenth more by chance; less only by the time between two looks at the clock.
    assert all(expected * 0.5 < pause <= expected * 1.1 for pause, expected in zip(pauses, (8, 16, 32), strict=True))


def test_one_owner_s_slow_receiver_does_not_hold_up_others(make_jobs: Make) -> None:
    jobs = make_jobs(Ear())
    attempts = []

    def ended(owner: str) -> Job:
        job = submit(jobs, owner=owner, webhook_url="https://example.com")
        jobs.remove(job.id, owner)
        return job

    for _ in range(6):
        ended("ann")
    for _ in range(3):
        attempts.append(jobs._outbox.claim())  # nobody else waits
    bobs = [ended("bob") for _ in range(3)]
    for _ in range(2):
        attempts.append(jobs._outbox.claim())
    assert all(attempts)
    told = [message["id"] for job in bobs for message in jobs.webhooks(job.id, "bob")]
    assert [attempt.id for attempt in attempts[3:] if attempt] == told[:2]
    assert jobs._outbox.claim() is None  # the others of either wait for these
    for attempt in attempts[3:]:
        assert attempt
        jobs._outbox.record(attempt, 15.0, None, "no answer")
    attempt = jobs._outbox.claim()
    assert attempt
    assert attempt.id == told[2]
    assert all(jobs._outbox.claim() for _ in range(3))  # all of ann's that are left: bob has none that waits
    assert jobs._outbox.claim() is None


def test_a_message_outlives_the_process_that_was_sending_it(
    telling: Callable[..., Jobs], make_jobs: Make, receiver: Receiver
) -> None:
    dying = make_jobs(Ear(), webhook_networks="127.0.0.0/8")
    job = submit(dying, webhook_url=receiver.url)
    dying.remove(job.id)
    assert dying._outbox.claim(), "and it dies before it has sent it"
    assert dying._outbox.claim() is None, "nobody else sends it at the same time"
    with dying._database.write() as connection:
        connection.execute(update(schema.deliveries).values(next_at=0.0))  # as time does
    living = telling()
    wait_until(lambda: statuses(living, job) == ["delivered"])
    (told,) = living.webhooks(job.id)
    assert told["type"] == "transcription.job.cancelled"
    assert [(attempt["status_code"], attempt["error"]) for attempt in told["attempts"]] == [(None, None), (204, None)]


def test_a_job_is_not_forgotten_before_its_message_is_sent(make_jobs: Make) -> None:
    jobs = make_jobs(Ear(), keep_jobs_s=0)
    job = submit(jobs, webhook_url="https://example.com")
    jobs.remove(job.id)
    jobs._retention.sweep()
    assert statuses(jobs, job) == ["pending"]
    attempt = jobs._outbox.claim()
    assert attempt
    jobs._outbox.record(attempt, 0.0, 204, None)
    jobs._retention.sweep()
    with pytest.raises(JobNotFoundError):
        jobs.get(job.id)


@on_sqlite
def test_private_addresses_are_refused_when_asked_and_when_sent(
    make_jobs: Make, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = make_jobs(Ear(), webhook_retry_s=3600)
    with pytest.raises(InvalidRequestError, match=r"127\.0\.0\.1 is private; CEPSTRA_WEBHOOK_NETWORKS"):
        submit(jobs, webhook_url=receiver.url)
    assert jobs.page().jobs == ()
    # A name that nobody can judge before it is looked up, and which then is this machine.
    port = receiver.url.split(":")[2].split("/")[0]
    known = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *rest, **more: known("127.0.0.1", *rest, **more))
    job = submit(jobs, webhook_url=f"http://innocent.example:{port}/")
    jobs.start()
    jobs.start_working()
    wait_until(lambda: any(message["attempts"][0]["error"] for message in jobs.webhooks(job.id) if message["attempts"]))
    (told,) = jobs.webhooks(job.id)
    assert told["attempts"][0]["error"] == "innocent.example is 127.0.0.1, which is private"
    assert not receiver.messages


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0"),
        *("224.0.0.1", "255.255.255.255", "198.18.0.1", "192.0.2.1", "240.0.0.1"),
        *("::1", "::", "fe80::1%1", "fc00::1", "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
        *("::7f00:1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:1::", "2001:db8::1"),
    ],
)
def test_no_address_but_the_internet_s(address: str) -> None:
    assert not is_allowed(ipaddress.ip_address(address), ())


def test_addresses_of_the_internet_and_those_allowed() -> None:
    for address in ("8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"):
        assert is_allowed(ipaddress.ip_address(address), ())
    allowed = parse_networks("10.0.0.0/8, ::1")
    assert is_allowed(ipaddress.ip_address("::ffff:10.0.0.1"), allowed)
    assert is_allowed(ipaddress.ip_address("::1"), allowed)
    assert not is_allowed(ipaddress.ip_address("127.0.0.1"), allowed)


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://example.com", "example.com/hook", "https://", "http://:80/", "https://example.com:0", "http://[::1"),
        *("https://example.com:99999", "https://user:secret@example.com", "https://example.com/#part"),
        *("https://example.com/a b", "https://exämple.com", "https://example.com/\n", "http://example.com\\@127.0.0.1"),
        *("http://127.0.0.1", "http://[::1]:80/", "http://localhost", "http://a.localhost", "https://" + 2048 * "a"),
    ],
)
def test_urls_that_are_refused_at_once(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="'webhook_url' cannot be used"):
        check_url(url, ())


def test_the_checked_address_is_the_one_connected_to(receiver: Receiver) -> None:
    """One look-up: a name that answers otherwise the second time gains nothing."""
    answers = iter(["127.0.0.1"])
    url = receiver.url.replace("127.0.0.1", "hooks.example")
    status = post(url, {}, b"{}", LOOPBACK, timeout_s=30, resolve=lambda host, port: [next(answers)])
    assert status == 204
    assert receiver.messages[0][0]["host"] == url.split("/")[2]


def test_one_private_address_among_several_is_enough_to_refuse(receiver: Receiver) -> None:
    with pytest.raises(OutboundError, match=r"is 10\.0\.0\.1, which is private"):
        post(receiver.url, {}, b"{}", LOOPBACK, timeout_s=30, resolve=lambda host, port: ["127.0.0.1", "10.0.0.1"])
    assert not receiver.messages


def test_a_receiver_that_drips_is_cut_off() -> None:
    """A byte now and then would hold a time-out of the socket off for ever."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = threading.Event()

        def drip() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\n")
                while not done.wait(0.1):
                    try:
                        connection.sendall(b"a: b\r\n")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        with pytest.raises(OutboundError, match=r"no answer within 0\.5 s"):
            post(f"http://127.0.0.1:{listener.getsockname()[1]}", {}, b"{}", LOOPBACK, timeout_s=0.5)
        done.set()
        thread.join()


def test_a_receiver_writes_no_lines_of_the_log() -> None:
    """Nor a NUL, which PostgreSQL does not keep."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"no HTTP\x1b[2J\r2026-11-22 INFO\x00\x85\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(OutboundError) as raised:
            post(f"http://127.0.0.1:{listener.getsockname()[1]}", {}, b"{}", LOOPBACK, timeout_s=30)
        thread.join()
    assert str(raised.value) == "BadStatusLine: no HTTP [2J 2026-11-22 INFO"


def test_an_untrusted_certificate_is_refused() -> None:
    """The name in the URL is what the certificate has to be for, not the address connected to."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: listener.accept()[0].close())
        thread.start()
        with pytest.raises(OutboundError, match=r"SSL|Connection|EOF"):
            post(f"https://127.0.0.1:{listener.getsockname()[1]}", {}, b"{}", LOOPBACK, timeout_s=30)
        thread.join()


def test_two_secrets_make_two_signatures(tmp_path: Path) -> None:
    """So that a receiver may learn the new one at any time while the secret is replaced."""
    old, new = "whsec_" + 10 * "b2xk", "whsec_" + 10 * "bmV3"
    (tmp_path / "secret").write_text(f"{old}\n{new}\n")
    headers = signed_headers(SecretFile(tmp_path / "secret", make=False).keys(), "msg_1", 1_700_000_000, b"{}")
    assert len(headers["webhook-signature"].split()) == 2
    for secret in (old, new):
        client = openai.OpenAI(api_key="none", webhook_secret=secret)
        client.webhooks.verify_signature("{}", headers, tolerance=10**9)


@pytest.mark.parametrize("content", [None, "", "whsec_c2hvcnQ=", "whsec_!"])
def test_a_secret_that_cannot_be_used(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "secret").write_text(content)
    with pytest.raises(JobsUnavailableError, match="secret"):
        SecretFile(tmp_path / "secret", make=False).keys()


@on_sqlite
def test_an_empty_file_of_secrets_is_as_if_none_were_named(
    make_jobs: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As docker-compose.yml mounts it; until something is written into it, and said once."""
    own = tmp_path / "state" / "jobs" / "webhook-secret"
    named = tmp_path / "secret"
    named.write_text("")
    jobs = make_jobs(Ear(), webhook_secret_file=named)
    for _ in range(2):
        submit(jobs, webhook_url="https://8.8.8.8/")
    assert own.exists()
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == [f"{named} is empty: webhooks are signed with {own} instead"]
    named.write_text(f"whsec_{'A' * 43}=")
    own.unlink()
    submit(jobs, webhook_url="https://8.8.8.8/")
    assert jobs._secret.keys() == [bytes(32)]
    assert not own.exists()
