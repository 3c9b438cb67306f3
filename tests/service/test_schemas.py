"""Whatever a form holds, it becomes options or a clear error, never an exception of another kind."""

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.errors import InvalidRequestError, error_response
from service.schemas import TranscriptionOptions, parse_options
from tests.service.conftest import Server, request
from tests.service.fakes import wav
from tests.service.test_load import form
from tests.service.test_uploads import PATH

NAMES = [*TranscriptionOptions.model_fields, "chunking_strategy[type]", "chunking_strategy[threshold]", "other", ""]
VALUES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(["json", "verbose_json", "word", "en", "true", "nan", "-1", "server_vad", "auto", '{"a":']),
    st.sampled_from(['{"type": "\\ud800"}', "{" * 50_000, '{"a":' * 10_000, "[]", "null", '{"type": {}}']),
)
FIELDS = st.dictionaries(
    st.one_of(st.sampled_from(NAMES), st.sampled_from([f"{name}[]" for name in NAMES]), st.text(max_size=10)),
    st.lists(VALUES, min_size=1, max_size=3),
    max_size=6,
)


@given(FIELDS)
def test_any_form(fields: dict[str, list[str]]) -> None:
    with contextlib.suppress(InvalidRequestError):
        parse_options({"model": ["default"], **fields})


def test_what_was_sent_is_in_no_error_that_may_be_logged() -> None:
    with pytest.raises(ValidationError) as caught:
        TranscriptionOptions.model_validate({"model": "default", "temperature": "confidential"})
    assert "temperature" in str(caught.value) and "confidential" not in str(caught.value)
    with pytest.raises(InvalidRequestError, match="'temperature' is 'confidential'"):  # told to who sent it
        parse_options({"model": ["default"], "temperature": ["confidential"]})


@pytest.mark.parametrize("first", ["chunking_strategy", "chunking_strategy[type]"])
def test_a_strategy_is_sent_as_a_whole_or_in_parts_but_not_both(first: str) -> None:
    fields = {"model": ["default"], first: ["auto"], "chunking_strategy": ["auto"], "chunking_strategy[type]": ["auto"]}
    with pytest.raises(InvalidRequestError, match="given 2 times"):
        parse_options(fields)


@given(FIELDS)
def test_any_error_can_be_sent(fields: dict[str, list[str]]) -> None:
    try:
        parse_options({"model": ["default"], **fields})
    except InvalidRequestError as error:
        response = error_response(error)
        assert response.status_code == 400
        assert len(response.body) < 2000


@pytest.mark.parametrize("seed", range(40))
def test_mutated_bodies(server: Server, seed: int) -> None:
    """Bytes changed, removed and doubled anywhere in a form: refused or transcribed, and the server lives."""
    mutate = random.Random(seed)
    body = bytearray(form(wav(0.1)))
    for _ in range(mutate.randint(1, 8)):
        at = mutate.randrange(len(body)) if mutate.random() < 0.3 else mutate.randrange(300)
        length = mutate.randint(1, 20)
        change = mutate.choice([mutate.randbytes(length), b"", bytes(body[at : at + length]) * 2, b"\r\n"])
        body[at : at + length] = change
    headers = {"content-type": "multipart/form-data; boundary=b"}
    response = request("POST", server.url + PATH, content=bytes(body), headers=headers)
    assert response.status_code in (200, 400, 404)
    assert response.status_code == 200 or set(response.json()["error"]) == {"message", "type", "param", "code"}
