"""A learned image codec: photographs to .lat files and back.

    from codec import Codec
    codec = Codec.load()
    data = codec.encode(image, quality=50)
    image = codec.decode(data)

`import codec` costs no torch; the names that need it load on first use. It turns off the telemetry of the engines.
"""

from typing import TYPE_CHECKING

from codec import telemetry
from codec.errors import (
    ChecksumError,
    DesyncError,
    FormatError,
    LatError,
    LimitError,
    MissingModelError,
    TruncatedError,
)

__version__ = "1.0.0"
__all__ = [
    "ChecksumError",
    "Codec",
    "DesyncError",
    "FormatError",
    "LatError",
    "LimitError",
    "MissingModelError",
    "TruncatedError",
    "preview",
]
telemetry.disable()


if TYPE_CHECKING:
    from codec.coder import Codec
    from codec.previews import preview
else:

    def __getattr__(name: str):
        if name == "Codec":
            from codec.runs import process

            process.wait_passively()
            from codec.coder import Codec

            return Codec
        if name == "preview":
            from codec.previews import preview

            return preview
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
