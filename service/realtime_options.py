"""What a realtime session is told to do: `session.update`, in today's shape and in that of the beta."""

from dataclasses import dataclass, replace
from reprlib import repr as _shown  # of what a client sent: `repr` itself cannot write lists a thousand deep
from typing import Any, Literal

from features.pcm import Encoding
from model.errors import HotWordError
from model.hot_words import DEFAULT_BOOST, HotWords
from service.errors import InvalidRequestError
from service.recogniser import LANGUAGE

PCM_RATE_HZ = 24_000  # the only one that OpenAI knows
TELEPHONE_RATE_HZ = 8_000

Format = Literal["audio/pcm", "audio/pcmu", "audio/pcma"]
ENCODINGS: dict[str, Encoding] = {"audio/pcm": "pcm16", "audio/pcmu": "mulaw", "audio/pcma": "alaw"}
BETA_FORMATS: dict[str, Format] = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
INVALID_KEYWORDS = "invalid_keywords"
LOGPROBS = "item.input_audio_transcription.logprobs"

# Of what a session may say, the parts that change nothing here: nothing is filtered, the model cannot be led by text,
# and what is speech follows from its words, not from a threshold.
IGNORED_INPUT = {"noise_reduction"}
IGNORED_TRANSCRIPTION = {"prompt", "delay"}
IGNORED_BETA = {"modalities", "client_secret", "id", "object", "expires_at"}
IGNORED_DETECTION = {"create_response", "interrupt_response", "idle_timeout_ms"}


@dataclass(frozen=True)
class TurnDetection:
    """When the server ends an utterance by itself.

    Attributes:
        threshold: accepted, and without effect.
        prefix_padding_ms: how long before the first word speech is said to have started.
        silence_duration_ms: the pause that ends an utterance.
    """

    threshold: float = 0.5
    prefix_padding_ms: int = 300
    silence_duration_ms: int = 500


@dataclass(frozen=True)
class RealtimeOptions:
    """All that a session can be told.

    Attributes:
        format: of the audio.
        model: the name by which the client asked for it.
        detection: None where the client commits by itself.
        logprobs: whether completed transcripts carry the log-probability of each unit.
        hot_words: what `keywords` and `keyword_boost` prefer, else None.
    """

    format: Format = "audio/pcm"
    model: str = "default"
    detection: TurnDetection | None = TurnDetection()
    logprobs: bool = False
    hot_words: HotWords | None = None

    @property
    def encoding(self) -> Encoding:
        """How the samples are written."""
        return ENCODINGS[self.format]

    @property
    def rate_hz(self) -> int:
        """Sample rate, hertz."""
        return PCM_RATE_HZ if self.format == "audio/pcm" else TELEPHONE_RATE_HZ

    def to_session(self, id_: str) -> dict[str, Any]:
        """The session object that `session.created` and `session.updated` carry."""
        detection = self.detection
        format_: dict[str, Any] = {"type": self.format}
        if self.format == "audio/pcm":
            format_["rate"] = PCM_RATE_HZ
        transcription: dict[str, Any] = {"model": self.model, "language": LANGUAGE}
        if self.hot_words:
            transcription |= {"keywords": [*self.hot_words.terms], "keyword_boost": self.hot_words.boost}
        return {
            "id": id_,
            "object": "realtime.transcription_session",
            "type": "transcription",
            "audio": {
                "input": {
                    "format": format_,
                    "noise_reduction": None,
                    "transcription": transcription,
                    "turn_detection": detection and {"type": "server_vad", **vars(detection)},
                }
            },
            "include": [LOGPROBS] if self.logprobs else None,
        }

    def to_beta_session(self, id_: str) -> dict[str, Any]:
        """The same in the beta's shape, for `transcription_session.updated`."""
        audio = self.to_session(id_)["audio"]["input"]
        names = {format_: name for name, format_ in BETA_FORMATS.items()}
        return {
            "id": id_,
            "object": "realtime.transcription_session",
            "input_audio_format": names[self.format],
            "input_audio_transcription": audio["transcription"],
            "input_audio_noise_reduction": None,
            "turn_detection": audio["turn_detection"],
        }

    def updated(self, session: Any) -> "RealtimeOptions":
        """With what a `session.update` names; the rest stays.

        Raises:
            InvalidRequestError: a part is unknown, or asks for what cannot be done; `param` says which.
        """
        fields = _object(session, "session", {"type", "audio", "include", "id", "object", "expires_at"})
        if fields.get("type", "transcription") != "transcription":
            raise InvalidRequestError(
                "This server transcribes; 'session.type' has to be 'transcription'.", param="session.type"
            )
        audio = _object(fields.get("audio", {}), "session.audio", {"input"})
        input_ = _object(
            audio.get("input", {}),
            "session.audio.input",
            {"format", "transcription", "turn_detection", *IGNORED_INPUT},
        )
        options = self._with_include(fields)
        if input_.get("format") is not None:
            options = replace(options, format=_format(input_["format"]))
        return options._with_input(input_, "session.audio.input.transcription", "session.audio.input.turn_detection")

    def updated_by_beta(self, session: Any) -> "RealtimeOptions":
        """With what the beta's `transcription_session.update` names; raises as `updated` does."""
        fields = _object(
            session,
            "session",
            {
                "input_audio_format",
                "input_audio_transcription",
                "input_audio_noise_reduction",
                "turn_detection",
                "include",
                *IGNORED_BETA,
            },
        )
        options = self._with_include(fields)
        if (name := fields.get("input_audio_format")) is not None:
            if not isinstance(name, str) or name not in BETA_FORMATS:
                raise InvalidRequestError(
                    f"The format {_shown(name)} is not one of {', '.join(BETA_FORMATS)}.",
                    param="session.input_audio_format",
                )
            options = replace(options, format=BETA_FORMATS[name])
        renamed = {
            name: fields[beta]
            for name, beta in (("transcription", "input_audio_transcription"), ("turn_detection", "turn_detection"))
            if beta in fields
        }
        return options._with_input(renamed, "session.input_audio_transcription", "session.turn_detection")

    def _with_include(self, fields: dict[str, Any]) -> "RealtimeOptions":
        if "include" not in fields:
            return self
        include = fields["include"] or []
        if not isinstance(include, list) or any(name != LOGPROBS for name in include):
            raise InvalidRequestError(f"'session.include' may hold '{LOGPROBS}' only.", param="session.include")
        return replace(self, logprobs=bool(include))

    def _with_input(self, input_: dict[str, Any], transcription: str, detection: str) -> "RealtimeOptions":
        options = self
        if input_.get("transcription") is not None:
            known = {"model", "language", "languages", "keywords", "keyword_boost", *IGNORED_TRANSCRIPTION}
            fields = _object(input_["transcription"], transcription, known)
            languages = fields.get("languages") or [LANGUAGE]
            wanted = fields.get("language") or LANGUAGE
            if not _is_known(wanted) or not isinstance(languages, list) or not any(map(_is_known, languages)):
                raise InvalidRequestError(
                    f"The model knows '{LANGUAGE}' only.",
                    param=f"{transcription}.language",
                    code="unsupported_language",
                )
            if (model := fields.get("model")) is not None:
                if not isinstance(model, str):
                    raise InvalidRequestError("A model's name is a text.", param=f"{transcription}.model")
                options = replace(options, model=model)
            if "keywords" in fields or "keyword_boost" in fields:
                options = replace(options, hot_words=_hot_words(fields, self.hot_words, transcription))
        if "turn_detection" in input_:
            options = replace(options, detection=_detection(input_["turn_detection"], detection))
        return options


def _is_known(language: Any) -> bool:
    """Whether it is the model's, written as a form may write it too."""
    return isinstance(language, str) and language.strip().lower() == LANGUAGE


def _format(value: Any) -> Format:
    where = "session.audio.input.format"
    fields = _object(value, where, {"type", "rate"})
    for format_ in ("audio/pcm", "audio/pcmu", "audio/pcma"):
        if fields.get("type", "audio/pcm") == format_:
            rate_hz = PCM_RATE_HZ if format_ == "audio/pcm" else TELEPHONE_RATE_HZ
            if fields.get("rate") not in (None, rate_hz):
                raise InvalidRequestError(
                    f"The rate is {_shown(fields['rate'])}; {format_} has {rate_hz} Hz here. "
                    "/v1/stream takes any rate.",
                    param=f"{where}.rate",
                )
            return format_
    raise InvalidRequestError(
        f"The format is {_shown(fields['type'])}; there are {', '.join(ENCODINGS)}.", param=f"{where}.type"
    )


def _detection(value: Any, where: str) -> TurnDetection | None:
    if value is None:
        return None
    if isinstance(value, dict) and value.get("type", "server_vad") != "server_vad":  # it has fields of its own
        raise InvalidRequestError(
            f"The type is {_shown(value['type'])}; only 'server_vad' is known, or null.", param=f"{where}.type"
        )
    fields = _object(
        value, where, {"type", "threshold", "prefix_padding_ms", "silence_duration_ms", *IGNORED_DETECTION}
    )
    usual = TurnDetection()
    return TurnDetection(
        float(_number(fields, "threshold", usual.threshold, 0, 1, where)),
        round(_number(fields, "prefix_padding_ms", usual.prefix_padding_ms, 0, 10_000, where)),
        round(_number(fields, "silence_duration_ms", usual.silence_duration_ms, 200, 10_000, where)),
    )


def _hot_words(fields: dict[str, Any], before: HotWords | None, where: str) -> HotWords | None:
    """What is preferred from now on: `keywords` of null or [] end it, and where they are not named they stay."""
    terms = fields.get("keywords", before.terms if before else ()) or ()
    if not isinstance(terms, list | tuple) or not all(isinstance(term, str) for term in terms):
        raise InvalidRequestError("'keywords' is a list of texts.", param=f"{where}.keywords", code=INVALID_KEYWORDS)
    boost = fields.get("keyword_boost", before.boost if before else None)
    if boost is None:
        boost = DEFAULT_BOOST
    if isinstance(boost, bool) or not isinstance(boost, int | float):
        raise InvalidRequestError("'keyword_boost' is a number.", param=f"{where}.keyword_boost")
    try:
        found = HotWords(tuple(terms), float(boost))
    except (HotWordError, OverflowError) as error:
        raise InvalidRequestError(str(error), param=f"{where}.keywords", code=INVALID_KEYWORDS) from error
    return found if terms else None


def _number(fields: dict[str, Any], name: str, usual: float, least: float, most: float, where: str) -> float:
    value = fields.get(name)
    if value is None:
        return usual
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise InvalidRequestError(
            f"'{name}' is {_shown(value)}; {least:g} to {most:g} is possible.", param=f"{where}.{name}"
        )
    return value


def _object(value: Any, where: str, known: set[str]) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequestError(f"'{where}' has to be an object.", param=where)
    for name in value:
        if name not in known:
            raise InvalidRequestError(
                f"'{where}.{name}' is unknown.", param=f"{where}.{name}", code="unknown_parameter"
            )
    return value
