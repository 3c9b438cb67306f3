"""What each runtime costs in words and gains in speed: the same corpus through all of them, and the record of it.

`model.runtime` lets `auto` take a rounded runtime only where this record says what it costs.
"""

import copy
import json
import os
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from model.checkpoint import CONFIG_FILE
from model.runtime import RECORD, installed_runtimes, make_runtime
from model.runtime_names import RuntimeName
from model.transcriber import Transcriber
from training.corpora import Utterance
from training.errors import StorageError
from training.evaluate import Evaluation, evaluate


def evaluate_runtimes(
    transcriber: Transcriber,
    utterances: Sequence[Utterance],
    *,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[RuntimeName, Evaluation]:
    """The corpus through every runtime that is installed, one after the other, all else the same.

    Args:
        transcriber: the model and how it decodes; its own runtime is not used.
        utterances: the corpus.
        limit: how many of them, None for all.
        progress: called with utterances done and utterances in all, over all runtimes.

    Raises:
        CorpusError: more than 1 % of the audio cannot be read.
    """
    names = installed_runtimes()
    evaluations = {}
    for done, name in enumerate(names):

        def advance(utterances_done: int, n_utterances: int, runtimes_done: int = done) -> None:
            if progress:
                progress(runtimes_done * n_utterances + utterances_done, len(names) * n_utterances)

        other = copy.copy(transcriber)
        other.runtime = make_runtime(transcriber.bundle.acoustic_model, name)
        evaluations[name] = evaluate(other, utterances, limit=limit, progress=advance)
    return evaluations


def record_runtimes(
    bundle: str | os.PathLike[str], evaluations: dict[RuntimeName, Evaluation], *, corpus: str, greedy: bool
) -> None:
    """Write the rates into the training record of a bundle's `config.json`, in one step; nothing else changes.

    Args:
        bundle: the bundle's directory.
        evaluations: of every runtime, on the same corpus.
        corpus: what it was, for who reads the record.
        greedy: whether they were decoded greedily.

    Raises:
        StorageError: the file cannot be read or written; it is untouched.
    """
    path = Path(bundle) / CONFIG_FILE
    scratch = path.with_name(f".{CONFIG_FILE}.{os.getpid()}")
    try:
        config = json.loads(path.read_text())
        config["training"][RECORD] = {
            name: _entry(evaluation, corpus, greedy) for name, evaluation in evaluations.items()
        }
        scratch.write_text(json.dumps(config, indent=2) + "\n")
        scratch.replace(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be rewritten: {error.strerror}") from error
    finally:
        scratch.unlink(missing_ok=True)


def _entry(evaluation: Evaluation, corpus: str, greedy: bool) -> dict[str, Any]:
    return {
        "wer": round(evaluation.wer, 6),
        "cer": round(evaluation.cer, 6),
        "words": evaluation.words.reference_units,
        "corpus": corpus,
        "greedy": greedy,
        "day": date.today().isoformat(),
    }
