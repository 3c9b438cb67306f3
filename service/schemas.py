"""The form of a transcription request: what each field may hold, and what becomes of it.

On the wire lists come in brackets (`include[]`) and objects one key at a time (`chunking_strategy[type]`), as the
official clients send them; the bare names are understood as well.
"""

import json
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from model.hot_words import DEFAULT_BOOST, LARGEST_BOOST, LONGEST_TERM, MOST_TERMS, HotWords
from model.transcript import MOST_ALTERNATIVES
from service.errors import InvalidRequestError
from service.formats import Granularity, ResponseFormat
from service.recogniser import LANGUAGE
from service.validation import reason_of

MAX_SHOWN_CHARS = 100


class ServerVad(BaseModel):
    """How a client would like long audio to be cut."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["server_vad"]
    prefix_padding_ms: int | None = Field(default=None, ge=0)
    silence_duration_ms: int | None = Field(default=None, ge=0)
    threshold: float | None = Field(default=None, ge=0, le=1)


class TranscriptionOptions(BaseModel):
    """Everything of the form but the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)  # which may be logged

    model: str = Field(description="Name of the model; `default` and OpenAI's names mean the one that is served.")
    language: str | None = Field(
        default=None, description=f"ISO-639-1 code of the spoken language. The model knows `{LANGUAGE}` only."
    )
    languages: list[str] = Field(
        default=[], description=f"Languages that may be spoken; `{LANGUAGE}` has to be among them."
    )
    prompt: str | None = Field(
        default=None, description="Accepted and ignored: the model cannot be led by text; `keywords` prefer words."
    )
    keywords: list[str] = Field(
        default=[],
        description=f"Words, names or terms that are preferred, also those that the lexicon lacks; at most "
        f"{MOST_TERMS} of {LONGEST_TERM} characters.",
    )
    keyword_boost: Annotated[float, Field(ge=0, le=LARGEST_BOOST, allow_inf_nan=False)] = Field(
        default=DEFAULT_BOOST,
        description=f"How much `keywords` are preferred, 0..{LARGEST_BOOST:g}: natural logarithm of a probability.",
    )
    temperature: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        default=0.0, description="0..1. Accepted and ignored: decoding is a search without chance."
    )
    response_format: ResponseFormat = Field(default="json", description="Shape of the answer.")
    formatting: Literal["raw", "captions"] = Field(
        default="raw",
        description="`captions` writes numbers, dates and money in digits and sentences with a capital.",
    )
    timestamp_granularities: list[Granularity] = Field(
        default=[],
        description="For `verbose_json` only: `segment`, `word`, or both, which is the default.",
    )
    alternatives: int = Field(
        default=0,
        ge=0,
        le=MOST_ALTERNATIVES,
        description="For `verbose_json` with words only: how many of what else may have been said are given with each "
        "word, at most.",
    )
    include: list[Literal["logprobs"]] = Field(
        default=[], description="`logprobs` adds the log-probability of each unit to `json` answers and streams."
    )
    stream: bool = Field(
        default=False,
        description="Answer as server-sent events; with `json` or `text` only. The text comes once all is "
        "recognised; until then comments keep the connection open.",
    )
    chunking_strategy: Literal["auto"] | ServerVad | None = Field(
        default=None, description="Accepted and ignored: long audio is always cut automatically."
    )

    @property
    def hot_words(self) -> HotWords | None:
        """What is preferred; raises `HotWordError`."""
        return HotWords(tuple(self.keywords), self.keyword_boost) if self.keywords else None

    @property
    def granularities(self) -> tuple[Granularity, ...]:
        """What `verbose_json` shows."""
        return tuple(self.timestamp_granularities) or ("segment", "word")


# Known to OpenAI's clients, and nothing that could be ignored: who names speakers expects to see them.
OF_SPEAKERS = {"known_speaker_names", "known_speaker_references"}

LISTS = {"languages", "keywords", "timestamp_granularities", "include"}


def parse_options(fields: dict[str, list[str]]) -> TranscriptionOptions:
    """The options in a form's fields; raises InvalidRequestError, which names the field."""
    try:
        options = TranscriptionOptions.model_validate(_unbracketed(fields))
    except ValidationError as error:
        raise _first(error) from None
    _check_together(options)
    return options


def result_options(
    made_with: TranscriptionOptions,
    response_format: ResponseFormat | None,
    granularities: list[Granularity] | None,
    include: list[Literal["logprobs"]] | None,
) -> TranscriptionOptions:
    """How to show a transcript that was made earlier: what is asked for now, and for the rest what was asked for then.

    Raises:
        InvalidRequestError: they do not go together.
    """
    chosen = response_format or made_with.response_format
    same = chosen == made_with.response_format
    options = TranscriptionOptions(
        model=made_with.model,
        response_format=chosen,
        timestamp_granularities=(made_with.timestamp_granularities if same else [])
        if granularities is None
        else granularities,
        include=(made_with.include if same else []) if include is None else include,
    )
    _check_together(options)
    return options


def form_schema() -> dict[str, Any]:
    """JSON schema of the whole form, for the OpenAPI document; lists under their names on the wire."""
    schema = TranscriptionOptions.model_json_schema(ref_template="#/components/schemas/{model}")
    schema.pop("$defs", None)
    file = {"type": "string", "format": "binary", "description": "The audio: wav, flac, mp3, ogg, webm, m4a …"}
    properties = {f"{name}[]" if name in LISTS else name: value for name, value in schema["properties"].items()}
    properties["chunking_strategy"] = {
        "type": "string",
        "description": schema["properties"]["chunking_strategy"]["description"],
    }
    return schema | {"properties": {"file": file} | properties, "required": ["file", *schema["required"]]}


def _unbracketed(fields: dict[str, list[str]]) -> dict[str, Any]:
    """Names without brackets, lists as lists, empty values as if they had not been sent."""
    values: dict[str, Any] = {}
    for sent_name, sent in fields.items():
        given = [value for value in sent if value.strip()]
        nested = re.fullmatch(r"chunking_strategy\[(\w+)\]", sent_name)
        name = sent_name.removesuffix("[]")
        strategy = values.get("chunking_strategy")  # as a whole, or one key at a time, but not both
        if not given:
            continue
        if name in LISTS | OF_SPEAKERS:
            values[name] = values.get(name, []) + given
        elif len(given) > 1 or (nested and isinstance(strategy, str)) or (name == "chunking_strategy" and strategy):
            raise InvalidRequestError(
                f"The parameter '{_shown(name)}' is given {max(2, len(given))} times.", param=_shown(name)
            )
        elif nested:
            values.setdefault("chunking_strategy", {})[nested[1]] = given[0]
        else:
            values[name] = given[0]
    strategy = values.get("chunking_strategy")
    if isinstance(strategy, str) and strategy.lstrip().startswith("{"):
        try:
            values["chunking_strategy"] = json.loads(strategy)
        except (ValueError, RecursionError):
            raise InvalidRequestError(
                "The parameter 'chunking_strategy' is not valid JSON.", param="chunking_strategy"
            ) from None
    return values


def _check_together(options: TranscriptionOptions) -> None:
    """What no single field can tell."""
    if options.language is not None and options.language.strip().lower() != LANGUAGE:
        raise _unsupported_language("language", f"is '{_shown(options.language)}'")
    if options.languages and LANGUAGE not in [language.strip().lower() for language in options.languages]:
        raise _unsupported_language("languages", f"are '{_shown(', '.join(options.languages))}'")
    if options.timestamp_granularities and options.response_format != "verbose_json":
        raise InvalidRequestError(
            "'timestamp_granularities' needs 'response_format' to be 'verbose_json'; "
            f"it is '{options.response_format}'.",
            param="timestamp_granularities",
        )
    if options.alternatives and (options.response_format != "verbose_json" or "word" not in options.granularities):
        raise InvalidRequestError(
            "'alternatives' needs 'response_format' to be 'verbose_json' and 'timestamp_granularities' to have 'word', "
            "because they stand with the words.",
            param="alternatives",
        )
    if options.include and options.response_format != "json":
        raise InvalidRequestError(
            f"'include' needs 'response_format' to be 'json'; it is '{options.response_format}'.",
            param="include",
        )
    if options.stream and options.response_format not in ("json", "text"):
        raise InvalidRequestError(
            f"'stream' goes with 'response_format' 'json' or 'text'; it is '{options.response_format}'.",
            param="stream",
        )


def _unsupported_language(param: str, what: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"'{param}' {what}; the model knows '{LANGUAGE}' only.", param=param, code="unsupported_language"
    )


def _first(error: ValidationError) -> InvalidRequestError:
    """Pydantic's first finding in our words."""
    errors: list[ErrorDetails] = error.errors(include_url=False)
    # What is wrong inside a strategy says more than that it is not 'auto', which comes first.
    inside = (each for each in errors if each["loc"][0] == errors[0]["loc"][0] and len(each["loc"]) > 2)
    found = next(inside, errors[0])
    param = _shown(str(found["loc"][0]) + "".join(f"[{part}]" for part in found["loc"][2:]))
    if found["type"] == "missing":
        return InvalidRequestError(
            f"The parameter '{param}' is missing.", param=param, code="missing_required_parameter"
        )
    if found["type"] == "extra_forbidden" and param in OF_SPEAKERS:
        return InvalidRequestError(
            f"'{param}' cannot be used: the model does not tell speakers apart.",
            param=param,
            code="unsupported_parameter",
        )
    if found["type"] == "extra_forbidden":
        return InvalidRequestError(f"The parameter '{param}' is not known here.", param=param, code="unknown_parameter")
    if param == "response_format" and found["input"] == "diarized_json":
        return InvalidRequestError(
            "'response_format' is 'diarized_json', but the model does not tell speakers apart.", param=param
        )
    return InvalidRequestError(f"'{param}' is '{_shown(str(found['input']))}': {reason_of(found)}.", param=param)


def _shown(text: str) -> str:
    """What a client sent, short enough for a message."""
    return text if len(text) <= MAX_SHOWN_CHARS else text[:MAX_SHOWN_CHARS] + "…"
