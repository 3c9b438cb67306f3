"""Errors of the model's room, below `features.errors.CepstraError`.

ModelError
├── BundleError                 a bundle directory that cannot be loaded
│   ├── BundleNotFoundError     no bundle at that path
│   ├── BundleFormatError       written in another format version, or not a bundle
│   └── BundleHashError         a file does not have the content its hash promises
├── UnknownCharacterError       text with a character that the tokenizer has no unit for
├── PronunciationError          a pronouncing dictionary that cannot be read
├── OptionError                 an option outside its range
│   └── HotWordError            hot words that are too many, too long, or cannot be spelled
└── WorkCancelledError          the caller has cancelled the work
"""

from features.errors import CepstraError


class ModelError(CepstraError):
    """Root of the model's errors."""


class BundleError(ModelError):
    """A bundle directory that cannot be loaded."""


class BundleNotFoundError(BundleError):
    """There is no bundle at that path."""


class BundleFormatError(BundleError):
    """The directory is not a bundle, or a bundle of a format version that this code does not read."""


class BundleHashError(BundleError):
    """A file of the bundle does not have the content that its recorded hash promises."""


class UnknownCharacterError(ModelError):
    """Text with a character that the tokenizer has no unit for."""


class PronunciationError(ModelError):
    """A pronouncing dictionary with a line that is none."""


class OptionError(ModelError):
    """An option outside its range."""


class AlternativesError(OptionError):
    """Alternatives of each word that are too many, or that nothing can give."""


class HotWordError(OptionError):
    """Hot words that are too many, too long or cannot be spelled, or a boost outside its range."""


class WorkCancelledError(ModelError):
    """The caller has cancelled the work (`model.cancellation`); there is no result."""
