"""The bundle: a directory that describes itself and can be served, evaluated or trained on.

    config.json             format version, name, front end, tokenizer, acoustic model, training record, SHA-256s
    model.safetensors       the acoustic model's weights (in half precision, or 8 bits) and the CMVN statistics
    lm.klm                  optional: an n-gram language model that KenLM reads
    lexicon.txt             with it: the words that may be recognised, one a line, spelled as in the language model
    pronunciations.txt      optional, beside lm.klm: how those words are spoken, for a model with a phone head
    letter_to_sound.safetensors   with it: what pronounces words that are not among them
    neural_lm.safetensors   optional, beside lm.klm: an LSTM language model that rescores what is found

Never pickle: loading a bundle runs no code of its maker. It is written under a temporary name and renamed, so that a
reader sees the old bundle or the new one, never half of one.
"""

import ctypes
import hashlib
import json
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError

from features.errors import CepstraError
from features.front_end import FrontEnd, FrontEndConfig
from features.normalization import GlobalCMVN
from model.acoustic_model import AcousticModel, AcousticModelConfig
from model.confidence import ConfidenceConfig
from model.errors import BundleError, BundleFormatError, BundleHashError, BundleNotFoundError, OptionError
from model.language_model import BeamSearchConfig, LanguageModel, RescoringConfig
from model.letter_to_sound import LetterToSound
from model.letter_to_sound import dump as dump_letter_to_sound
from model.letter_to_sound import parse as parse_letter_to_sound
from model.neural_language_model import NeuralLanguageModel, dump, parse
from model.phones import format_pronunciations, parse_pronunciations
from model.rejection import RejectionConfig
from model.stored_weights import WeightFormat, pack_weights, unpack_weights
from model.tokenizer import Tokenizer, parse_tokenizer

FORMAT_VERSION = 1
PACKED_FORMAT_VERSION = 2  # the same with weights in 8 bits, which earlier readers would not understand
SPOKEN_FORMAT_VERSION = 3  # with a phone head, weights in either form
SPELLED_FORMAT_VERSION = 4  # the same with a speller
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
LANGUAGE_MODEL_FILE = "lm.klm"
LEXICON_FILE = "lexicon.txt"
NEURAL_LM_FILE = "neural_lm.safetensors"
PRONUNCIATIONS_FILE = "pronunciations.txt"
LETTER_TO_SOUND_FILE = "letter_to_sound.safetensors"

# What building the parts from another maker's files can raise: options that are missing, unknown, of the wrong type or
# out of range, and weights of other names or shapes.
_UNUSABLE_CONTENT = (
    CepstraError,
    SafetensorError,
    KeyError,
    TypeError,
    AttributeError,
    ValueError,
    ArithmeticError,
    RuntimeError,
)


@dataclass(frozen=True)
class Bundle:
    """Everything that turns a waveform into log-probabilities of characters.

    Attributes:
        name: what the service calls the model.
        front_end, cmvn, acoustic_model, tokenizer: the parts, in the order in which audio passes them.
        training: the training record: data, hours, passes, WER, commit … (free form, JSON).
        created_at: unix seconds at which the bundle was written.
        language_model: what leads the beam search; None for greedy decoding.
        neural_lm: what puts the search's N-best list in order; None leaves it as it is.
        rescoring: how the neural model does that.
        rejection: how speech is told from other sounds in this model's log-probs; None where that is not known.
        confidence: how sure its words are; None where that was not measured (`cepstra calibrate`).
        weight_format: how the acoustic model's weights are stored; computation begins from float32.
        letter_to_sound: pronounces hot words that the lexicon lacks; None where nothing does.
    """

    name: str
    front_end: FrontEnd
    cmvn: GlobalCMVN
    acoustic_model: AcousticModel
    tokenizer: Tokenizer
    training: dict[str, Any] = field(default_factory=dict)
    created_at: int = field(default_factory=lambda: int(time.time()))
    language_model: LanguageModel | None = None
    neural_lm: NeuralLanguageModel | None = None
    rescoring: RescoringConfig = field(default_factory=RescoringConfig)
    rejection: RejectionConfig | None = None
    confidence: ConfidenceConfig | None = None
    weight_format: WeightFormat = "float16"
    letter_to_sound: LetterToSound | None = None

    def __post_init__(self) -> None:
        if self.neural_lm is not None and self.language_model is None:
            raise OptionError("a neural language model needs an n-gram model, whose hypotheses it puts in order")
        spoken = self.language_model is not None and bool(self.language_model.pronunciations)
        if (spoken or self.letter_to_sound) and not self.acoustic_model.config.n_phones:
            raise OptionError("there are pronunciations, but the acoustic model has no head for phones")
        heard, expected = self.front_end.config.n_features, self.acoustic_model.config.n_features
        if heard != expected:
            raise OptionError(f"the front end gives {heard} feature bins; the acoustic model takes {expected}")
        units, outputs = self.tokenizer.vocabulary_size, self.acoustic_model.config.vocabulary_size
        if units != outputs:
            raise OptionError(f"the tokenizer has {units} units with blank; the acoustic model gives {outputs}")

    @property
    def frame_s(self) -> float:
        """Seconds from one output frame to the next."""
        front_end = self.front_end.config
        return front_end.hop_samples * self.acoustic_model.config.subsampling / front_end.sample_rate_hz


def save_bundle(bundle: Bundle, path: str | os.PathLike[str]) -> None:
    """Write a bundle directory atomically, replacing one that is there.

    Args:
        bundle: what to write.
        path: the directory; its parent is created where it is missing.

    Raises:
        OptionError: the weights cannot be stored as `bundle.weight_format` says.
        OSError: the disk is full or not writable, or something other than a bundle is there; it stays untouched.
    """
    target = Path(path).resolve()
    if not _may_be_replaced(target):
        raise FileExistsError(f"{target} is there and is not a bundle; choose another place or remove it")
    target.parent.mkdir(parents=True, exist_ok=True)
    # Bytes in memory first: safetensors' own writing to a file does not raise OSError on a full disk.
    weights = pack_weights(bundle.acoustic_model.state_dict(), bundle.weight_format)
    weights |= {f"cmvn.{key}": tensor.detach().cpu() for key, tensor in bundle.cmvn.state_dict().items()}
    files = {WEIGHTS_FILE: safetensors.torch.save(weights)}
    if bundle.language_model is not None:
        files[LANGUAGE_MODEL_FILE] = bundle.language_model.path.read_bytes()
        files[LEXICON_FILE] = "".join(f"{word}\n" for word in bundle.language_model.words).encode()
        if bundle.language_model.pronunciations:
            files[PRONUNCIATIONS_FILE] = format_pronunciations(bundle.language_model.pronunciations).encode()
    if bundle.letter_to_sound is not None:
        files[LETTER_TO_SOUND_FILE] = dump_letter_to_sound(bundle.letter_to_sound)
    if bundle.neural_lm is not None:
        files[NEURAL_LM_FILE] = dump(bundle.neural_lm)
    config = {
        "format_version": _format_version(bundle),
        "name": bundle.name,
        "created_at": bundle.created_at,
        "front_end": asdict(bundle.front_end.config),
        "tokenizer": asdict(bundle.tokenizer),
        "acoustic_model": _known_earlier(bundle.acoustic_model.config),
        "language_model": asdict(bundle.language_model.search) if bundle.language_model else None,
        "neural_lm": asdict(bundle.rescoring) if bundle.neural_lm else None,
        "rejection": asdict(bundle.rejection) if bundle.rejection else None,
        "confidence": asdict(bundle.confidence) if bundle.confidence else None,
        "training": bundle.training,
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        for name, content in files.items():
            (scratch / name).write_bytes(content)
        (scratch / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
        scratch.chmod(0o755)
        _put_in_place(scratch, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)  # after success: the bundle that was there before, or nothing


def _format_version(bundle: Bundle) -> int:
    config = bundle.acoustic_model.config
    if config.spelling_layers:
        return SPELLED_FORMAT_VERSION
    if config.n_phones:
        return SPOKEN_FORMAT_VERSION
    return PACKED_FORMAT_VERSION if bundle.weight_format == "int8" else FORMAT_VERSION


def _known_earlier(config: AcousticModelConfig) -> dict[str, Any]:
    """The sizes; without a speller those that earlier versions know, so that they read the bundle."""
    sizes = asdict(config)
    return sizes if config.spelling_layers else {k: v for k, v in sizes.items() if not k.startswith("spelling_")}


def load_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read a bundle directory, checking format version and hashes; the model comes in evaluation mode, float32.

    Raises:
        BundleNotFoundError: there is no `config.json` at that path.
        BundleFormatError: it is not a bundle, or of another format version.
        BundleHashError: a file is missing or differs from what was written.
    """
    directory = Path(path)
    while True:
        before = _identity(directory)
        try:
            return _load(directory)
        except BundleError:
            if _identity(directory) == before:
                raise  # otherwise it was replaced meanwhile, and what was read belongs to two bundles: read again


def _load(directory: Path) -> Bundle:
    config = _read_config(directory)
    try:
        files = {name: _read_checked(directory, name, expected) for name, expected in config["sha256"].items()}
        front_end = FrontEnd(FrontEndConfig(**config["front_end"]))
        tokenizer = parse_tokenizer(config["tokenizer"])
        with torch.device("meta"):  # weights drawn by chance would only be written over
            acoustic_model = AcousticModel(AcousticModelConfig(**config["acoustic_model"]))
        cmvn = GlobalCMVN(front_end.config.n_features)
        stored = safetensors.torch.load(files[WEIGHTS_FILE])
        cmvn.load_state_dict({k.removeprefix("cmvn."): v.float() for k, v in stored.items() if k.startswith("cmvn.")})
        weights, weight_format = unpack_weights({k: v for k, v in stored.items() if not k.startswith("cmvn.")})
        acoustic_model.load_state_dict(weights, assign=True)
        acoustic_model.eval().requires_grad_(False)
        language_model = None
        if config.get("language_model") is not None:
            del files[LANGUAGE_MODEL_FILE]  # listed and checked; KenLM maps the file itself
            words = tuple(files[LEXICON_FILE].decode().split())
            search = BeamSearchConfig(**config["language_model"])
            spoken = parse_pronunciations(files.get(PRONUNCIATIONS_FILE, b"").decode())
            language_model = LanguageModel(directory.resolve() / LANGUAGE_MODEL_FILE, words, search, spoken)
        neural_lm, rescoring = None, RescoringConfig()
        if config.get("neural_lm") is not None:
            neural_lm, rescoring = parse(files[NEURAL_LM_FILE]), RescoringConfig(**config["neural_lm"])
        return Bundle(
            config["name"],
            front_end,
            cmvn,
            acoustic_model,
            tokenizer,
            config["training"],
            config["created_at"],
            language_model,
            neural_lm,
            rescoring,
            RejectionConfig(**config["rejection"]) if config.get("rejection") else None,
            ConfidenceConfig.from_json(config["confidence"]) if config.get("confidence") else None,
            weight_format,
            parse_letter_to_sound(files[LETTER_TO_SOUND_FILE]) if LETTER_TO_SOUND_FILE in files else None,
        )
    except BundleError:
        raise
    except _UNUSABLE_CONTENT as error:
        version = config["format_version"]
        raise BundleFormatError(f"{directory} is not a bundle of format {version}: {error!r}") from error


def _read_config(directory: Path) -> dict[str, Any]:
    try:
        config = json.loads((directory / CONFIG_FILE).read_text())
    except OSError as error:
        raise BundleNotFoundError(f"no bundle at {directory}: {CONFIG_FILE} there: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise BundleFormatError(f"{directory / CONFIG_FILE} is not JSON: {error}") from error
    version = config.get("format_version") if isinstance(config, dict) else None
    if version not in range(FORMAT_VERSION, SPELLED_FORMAT_VERSION + 1):
        raise BundleFormatError(
            f"{directory} has bundle format {version!r}; this version of Cepstra reads formats {FORMAT_VERSION} to "
            f"{SPELLED_FORMAT_VERSION}"
        )
    return dict(config)


def _read_checked(directory: Path, name: str, expected: str) -> bytes:
    """A file's content, read once, so that what was checked is what is used."""
    if name != Path(name).name or name in ("", ".."):
        raise BundleFormatError(f"{directory / CONFIG_FILE} lists {name!r}; a bundle's files lie in its own directory")
    try:
        content = (directory / name).read_bytes()
    except OSError as error:
        raise BundleHashError(f"{directory / name} cannot be read, and the bundle's {CONFIG_FILE} lists it") from error
    actual = hashlib.sha256(content).hexdigest()
    if actual != expected:
        raise BundleHashError(
            f"{directory / name} has SHA-256 {actual}; {CONFIG_FILE} promises {expected}: copy the bundle again"
        )
    return content


def _may_be_replaced(target: Path) -> bool:
    """Whether nothing is lost there: a bundle, an empty directory, or nothing at all."""
    if (target / CONFIG_FILE).is_file() or not target.exists():
        return True
    return target.is_dir() and not any(target.iterdir())


def _identity(directory: Path) -> tuple[int, int] | None:
    """Another value once the directory was replaced; None where there is none."""
    try:
        status = directory.stat()
    except (OSError, ValueError):  # a name with a zero byte in it is none
        return None
    return status.st_ino, status.st_mtime_ns


def _put_in_place(scratch: Path, target: Path) -> None:
    """Rename `scratch` to `target`; what was there is then called `scratch`."""
    if not target.exists():
        scratch.rename(target)
        return
    if _exchange(scratch, target):
        return
    aside = scratch.with_name(scratch.name + ".old")
    target.rename(aside)
    try:
        scratch.rename(target)
    except OSError:
        aside.rename(target)
        raise
    aside.rename(scratch)


def _exchange(one: Path, other: Path) -> bool:
    """Let two names change places in one step; False where the system cannot.

    Two renames would leave a moment, and after a kill between them all time, without a bundle. Python has no call for
    Linux's RENAME_EXCHANGE.
    """
    at_fdcwd, rename_exchange = -100, 2  # <fcntl.h>, <linux/fs.h>
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (OSError, TypeError, AttributeError):
        return False
    return bool(renameat2(at_fdcwd, os.fsencode(one), at_fdcwd, os.fsencode(other), rename_exchange) == 0)
