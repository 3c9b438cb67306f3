"""The short form of `make prove-fuzz`, and of schemathesis over the OpenAPI document: always the same requests."""

import random
from collections.abc import Iterator
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
    frame_seeds,
    frames_target,
    fuzz,
    mutated,
    websocket_paths,
)
from tests.service.conftest import DECODERS, Server
from tests.service.fakes import FakeTranscriber

MUTATIONS = 60

APP = create_app(Settings(), FakeTranscriber(), DECODERS)
DOCUMENT: Any = schemathesis.openapi.from_dict(APP.openapi())
OPERATIONS = [found.ok() for found in DOCUMENT.get_all_operations()]


@pytest.fixture
def nothing_to_complain_about() -> Iterator[None]:
    with errors_logged() as complaints:
        yield
    assert not complaints


def count(sent: int) -> bool:
    return sent < MUTATIONS


def test_mutated_audio_is_decoded_or_refused() -> None:
    assert not fuzz("decoding", decoding_target(DECODERS), audio_seeds(), 0, count)


# A body that ends inside its file leaves the file to the garbage collector, which closes it at once (Starlette 1.10).
@pytest.mark.filterwarnings("ignore:Unclosed file <tempfile.SpooledTemporaryFile:ResourceWarning")
@pytest.mark.usefixtures("nothing_to_complain_about")
def test_mutated_forms_are_answered(server: Server) -> None:
    assert not fuzz("multipart", form_target(server.url), form_seeds(), 0, count)


@pytest.mark.usefixtures("nothing_to_complain_about")
def test_mutated_frames_end_no_server(server: Server) -> None:
    for path in websocket_paths(APP):
        assert not fuzz(path, frames_target(server.url, path), frame_seeds(), 0, count)


def test_mutations_differ_and_can_be_repeated() -> None:
    seeds = [b"a" * 100, b"b" * 100]
    first, second = ([mutated(seeds, random_) for _ in range(50)] for random_ in (random.Random(1), random.Random(1)))
    assert first == second
    assert len(set(first)) > 45


def test_a_target_that_fails_is_found() -> None:
    findings = fuzz("x", lambda data: "empty" if not data else "", [b"ab"], 0, lambda sent: sent < 300)
    assert findings
    assert all(finding.data == b"" for finding in findings)


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(data=st.data())
def test_no_request_of_the_document_is_a_server_error(operation: Any, server: Server, data: st.DataObject) -> None:
    case = data.draw(operation.as_strategy())
    answer = case.call(base_url=server.url)
    assert answer.status_code < 500, answer.text
