"""Every error this project raises for a caller's input, as one tree.

    CepstraError                    anything below; the message names the value, the limit and what to do
    ├── AudioError                  the audio cannot be used
    │   ├── EmptyAudioError         zero bytes, or a valid container that holds no samples
    │   ├── UnsupportedAudioError   not audio at all, or a codec that nobody here can read
    │   ├── CorruptAudioError       audio that breaks off or cannot be decoded to its end
    │   ├── NonFiniteAudioError     NaN or infinite samples
    │   ├── AudioParameterError     sample rate, channel count or level outside the supported range
    │   ├── AudioTooLongError       more decoded seconds than the caller allows
    │   └── AudioTooLargeError      more decoded bytes than the caller allows
    ├── ModelError                  see `model.errors`
    ├── TrainingError               see `training.errors`
    └── ServiceError                see `service.errors`

`features` is the lowest room and imports nothing of ours, so the root of the tree lives here.
"""


class CepstraError(Exception):
    """Root of all errors that a caller's input can cause."""


class AudioError(CepstraError):
    """The audio cannot be used."""


class EmptyAudioError(AudioError):
    """Zero bytes, or a valid container that holds no samples."""


class UnsupportedAudioError(AudioError):
    """Not audio at all, or a container or codec that cannot be read."""


class CorruptAudioError(AudioError):
    """Audio that breaks off or cannot be decoded to its end."""


class NonFiniteAudioError(AudioError):
    """The decoded audio holds NaN or infinite samples."""


class AudioParameterError(AudioError):
    """Sample rate, channel count, level or an option of decoding outside the supported range."""


class AudioTooLongError(AudioError):
    """The audio decodes to more seconds than the caller allows."""


class AudioTooLargeError(AudioError):
    """The audio decodes to more bytes than the caller allows."""
