"""The bundle: a directory that describes itself and can be served, evaluated or trained on.

    config.json         format version, name, front end, tokenizer, acoustic model, training record, SHA-256s
    model.safetensors   the acoustic model's weights and the CMVN statistics (half precision by default)

Never pickle: loading a bundle runs no code of its maker. It is written under a temporary name and renamed, so that a
reader sees the old bundle or the new one, never half of one.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from features.front_end import FrontEnd, FrontEndConfig
from features.normalization import GlobalCMVN
from model.acoustic_model import AcousticModel, AcousticModelConfig
from model.errors import BundleFormatError, BundleHashError, BundleNotFoundError
from model.tokenizer import CharacterTokenizer

FORMAT_VERSION = 1
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True)
class Bundle:
    """Everything that turns a waveform into log-probabilities of characters.

    Attributes:
        name: what the service calls the model.
        front_end, cmvn, acoustic_model, tokenizer: the parts, in the order in which audio passes them.
        training: the training record: data, hours, passes, WER, commit … (free form, JSON).
        created_at: unix seconds at which the bundle was written.
    """

    name: str
    front_end: FrontEnd
    cmvn: GlobalCMVN
    acoustic_model: AcousticModel
    tokenizer: CharacterTokenizer
    training: dict[str, Any] = field(default_factory=dict)
    created_at: int = field(default_factory=lambda: int(time.time()))


def save_bundle(bundle: Bundle, path: str | os.PathLike[str], *, half_precision: bool = True) -> None:
    """Write a bundle directory atomically, replacing one that is there.

    Args:
        bundle: what to write.
        path: the directory; its parent is created where it is missing.
        half_precision: store the acoustic model's weights as float16, half the bytes; computation stays in float32.

    Raises:
        OSError: the disk is full or not writable; what was there before is untouched.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        save_file(_weights(bundle, half_precision), scratch / WEIGHTS_FILE)
        config = {
            "format_version": FORMAT_VERSION,
            "name": bundle.name,
            "created_at": bundle.created_at,
            "front_end": asdict(bundle.front_end.config),
            "tokenizer": asdict(bundle.tokenizer),
            "acoustic_model": asdict(bundle.acoustic_model.config),
            "training": bundle.training,
            "sha256": {WEIGHTS_FILE: _sha256(scratch / WEIGHTS_FILE)},
        }
        (scratch / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n")
        scratch.chmod(0o755)
        _replace_directory(scratch, target)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise


def load_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read a bundle directory, checking format version and hashes; the model comes in evaluation mode, float32.

    Raises:
        BundleNotFoundError: there is no `config.json` at that path.
        BundleFormatError: it is not a bundle, or of another format version.
        BundleHashError: a file is missing or differs from what was written.
    """
    directory = Path(path)
    config = _read_config(directory)
    try:
        for name, expected in config["sha256"].items():
            _check_hash(directory / name, expected)
        front_end = FrontEnd(FrontEndConfig(**config["front_end"]))
        tokenizer = CharacterTokenizer(**config["tokenizer"])
        acoustic_model = AcousticModel(AcousticModelConfig(**config["acoustic_model"]))
        cmvn = GlobalCMVN(front_end.config.n_features)
        weights = {key: tensor.float() for key, tensor in load_file(directory / WEIGHTS_FILE).items()}
        cmvn.load_state_dict({k.removeprefix("cmvn."): v for k, v in weights.items() if k.startswith("cmvn.")})
        acoustic_model.load_state_dict({k: v for k, v in weights.items() if not k.startswith("cmvn.")})
        name, created_at, training = config["name"], config["created_at"], config["training"]
    except (KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
        raise BundleFormatError(f"{directory} is not a bundle of format {FORMAT_VERSION}: {error}") from error
    acoustic_model.eval().requires_grad_(False)
    return Bundle(name, front_end, cmvn, acoustic_model, tokenizer, training, created_at)


def _read_config(directory: Path) -> dict[str, Any]:
    try:
        config = json.loads((directory / CONFIG_FILE).read_text())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleNotFoundError(f"no bundle at {directory}: {CONFIG_FILE} is missing there") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BundleFormatError(f"{directory / CONFIG_FILE} is not JSON: {error}") from error
    version = config.get("format_version") if isinstance(config, dict) else None
    if version != FORMAT_VERSION:
        raise BundleFormatError(
            f"{directory} has bundle format {version!r}; this version of Cepstra reads format {FORMAT_VERSION}"
        )
    return dict(config)


def _weights(bundle: Bundle, half_precision: bool) -> dict[str, Tensor]:
    dtype = torch.float16 if half_precision else torch.float32
    weights = {k: v.detach().to("cpu", dtype) for k, v in bundle.acoustic_model.state_dict().items()}
    weights |= {f"cmvn.{k}": v.detach().cpu() for k, v in bundle.cmvn.state_dict().items()}
    return {key: tensor.contiguous().clone() for key, tensor in weights.items()}


def _check_hash(file: Path, expected: str) -> None:
    if not file.is_file():
        raise BundleHashError(f"{file} is missing; the bundle's {CONFIG_FILE} lists it")
    actual = _sha256(file)
    if actual != expected:
        raise BundleHashError(f"{file} has SHA-256 {actual}; {CONFIG_FILE} promises {expected}: copy the bundle again")


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _replace_directory(scratch: Path, target: Path) -> None:
    """Rename `scratch` to `target`; a directory already there is moved aside first and removed last."""
    if not target.exists():
        scratch.rename(target)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    target.rename(aside / target.name)
    try:
        scratch.rename(target)
    except OSError:
        (aside / target.name).rename(target)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
