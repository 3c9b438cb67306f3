"""The short form of `make prove-fuzz`, and of schemathesis over the OpenAPI document: always the same requests."""

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as st

from service.app import create_app
from service.settings import Settings
from tests.fuzzing import (
    audio_seeds,
    decoding_target,
    errors_logged,
    form_seeds,
    form_target,
    fuzz,
    mutated,
    mutations_of,
)
from tests.fuzzing_sockets import (
    CLOSE_INTERNAL,
    QUERIES,
    closings,
    frame_seeds,
    frames_target,
    handshake_seeds,
    handshake_target,
    messages_target,
    mutated_messages,
    websocket_paths,
)
from tests.service.conftest import DECODERS, Server, serving
from tests.service.fakes import FakeTranscriber

APP = create_app(Settings(), FakeTranscriber(), DECODERS)
DOCUMENT: Any = schemathesis.openapi.from_dict(APP.openapi())
OPERATIONS = [found.ok() for found in DOCUMENT.get_all_operations()]


@pytest.fixture
def nothing_to_complain_about() -> Iterator[None]:
    with errors_logged() as complaints:
        yield
    assert not complaints


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[Server]:
    """A server that keeps no stream for a client that has hung up: soon all places would be taken."""
    with serving(Settings(remember_s=0, resume_s=0), FakeTranscriber()) as running:
        yield running


def at_most(number: int) -> Callable[[int], bool]:
    return lambda sent: sent < number


def test_mutated_audio_is_decoded_or_refused() -> None:
    assert not fuzz("decoding", decoding_target(DECODERS), mutations_of(audio_seeds()), 0, at_most(60))


# A body that ends inside its file leaves the file to the garbage collector, which closes it at once (Starlette 1.10).
@pytest.mark.filterwarnings("ignore:Unclosed file <tempfile.SpooledTemporaryFile:ResourceWarning")
@pytest.mark.usefixtures("nothing_to_complain_about")
@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/jobs"])
def test_mutated_forms_are_answered(fuzzed: Server, path: str) -> None:
    assert not fuzz(path, form_target(fuzzed.url, path), mutations_of(form_seeds()), 0, at_most(60))


def test_every_socket_is_fuzzed() -> None:
    assert websocket_paths(APP) == sorted(QUERIES)


@pytest.mark.usefixtures("nothing_to_complain_about")
def test_mutated_handshakes_are_taken_or_refused(fuzzed: Server) -> None:
    assert not fuzz("handshakes", handshake_target(fuzzed.url), mutations_of(handshake_seeds()), 0, at_most(30))


@pytest.mark.usefixtures("nothing_to_complain_about")
@pytest.mark.parametrize("path", QUERIES)
def test_mutated_frames_end_no_server(fuzzed: Server, path: str) -> None:
    assert not fuzz(path, frames_target(fuzzed.url, path), mutations_of(frame_seeds()), 0, at_most(30))


@pytest.mark.usefixtures("nothing_to_complain_about")
@pytest.mark.parametrize("path", QUERIES)
def test_mutated_messages_are_acted_on_or_refused(fuzzed: Server, path: str) -> None:
    assert not fuzz(path, messages_target(fuzzed.url, path), mutated_messages, 0, at_most(100))


def test_what_a_server_says_when_it_is_to_blame_is_seen() -> None:
    """Frames as a server sends them: not masked."""
    event, long, close = b"\x81\x02{}", b"\x81\x7e\x01\x00" + bytes(256), b"\x88\x03\x03\xf3x"
    assert closings(event + long + close) == [CLOSE_INTERNAL]
    assert closings(event + long) == closings(close[:3]) == []


def test_mutations_differ_and_can_be_repeated() -> None:
    seeds = [b"a" * 100, b"b" * 100]
    for mutation in (partial(mutated, seeds), mutated_messages):
        first, second = ([mutation(random_) for _ in range(50)] for random_ in (random.Random(1), random.Random(1)))
        assert first == second
        assert len(set(first)) > 45


def test_a_target_that_fails_is_found() -> None:
    findings = fuzz("x", lambda data: "empty" if not data else "", mutations_of([b"ab"]), 0, at_most(300))
    assert findings
    assert all(finding.data == b"" for finding in findings)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(data=st.data())
def test_no_request_of_the_document_is_a_server_error(operation: Any, server: Server, data: st.DataObject) -> None:
    case = data.draw(operation.as_strategy())
    answer = case.call(base_url=server.url)
    assert answer.status_code < 500, answer.text
