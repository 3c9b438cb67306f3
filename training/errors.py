"""Errors of the training room, below `features.errors.CepstraError`.

TrainingError
├── CorpusError             no utterances, no transcripts, or too many that cannot be used
├── RecipeError             a recipe that cannot be read, or an option outside its range
├── DownloadError           a corpus cannot be fetched, is corrupt, or does not fit on the disk
├── ReportError             a run's history that cannot be read, or a report asked for with options out of range
├── DivergedError           the loss is NaN, infinite or explodes; names the batch
├── DiscountError           n-gram counts that give modified Kneser-Ney no discounts
└── StorageError            a checkpoint or language model could not be written; the one before it is kept
"""

from features.errors import CepstraError


class TrainingError(CepstraError):
    """Root of the training errors."""


class CorpusError(TrainingError):
    """The corpus has no utterances, no transcripts, or too many utterances that cannot be used."""


class RecipeError(TrainingError):
    """A recipe that cannot be read, or an option outside its range."""


class DownloadError(TrainingError):
    """A corpus cannot be fetched, its archive is corrupt, or the disk cannot hold it."""


class ReportError(TrainingError):
    """A run's history that cannot be read, or a report asked for with options out of range."""


class DivergedError(TrainingError):
    """The loss is NaN, infinite or explodes; the message names the batch and the checkpoint to resume from."""


class DiscountError(TrainingError):
    """How often n-grams occur once, twice … gives modified Kneser-Ney no discounts; the message names the order."""


class StorageError(TrainingError):
    """A checkpoint or language model could not be written; the one before it is untouched."""
