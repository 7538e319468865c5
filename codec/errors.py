"""Everything this package raises on purpose.

LatError(ValueError)          anything wrong with a file or a request
├── FormatError               the bytes are no valid .lat file
│   ├── TruncatedError        they end too early
│   └── ChecksumError         they were altered after writing
├── LimitError                valid, but larger than the caller allows
├── MissingModelError         written with weights that are not installed
└── DesyncError               latents decode, but are not the ones that were written
"""


class LatError(ValueError):
    """Base of all errors of this package."""


class FormatError(LatError):
    """The bytes break a rule of FORMAT.md."""


class TruncatedError(FormatError):
    """The bytes end before the file does: copy or download it again."""


class ChecksumError(FormatError):
    """A CRC-32 does not match: the file was altered after it was written."""


class LimitError(LatError):
    """More pixels or bytes than the caller allows: raise the limit if the file is trusted."""


class MissingModelError(LatError):
    """No installed weights have this name or fingerprint: install the version that has them."""


class DesyncError(LatError):
    """Decoded latents fail their checksum although the bytes are intact: forged file, or a bug worth reporting."""


def install(extra: str) -> str:
    """How to get the packages of an extra: from a checkout, because no index has this package yet."""
    return f"pip install '.[{extra}]' in a checkout"


def reason(error: BaseException) -> str:
    """What an exception says; its kind, where it says nothing."""
    return str(error) or type(error).__name__


def about(error: BaseException, *names: str) -> str:
    """What an exception says, after the name of the file that it is about, unless it begins with one of `names`."""
    said = reason(error)
    return said if said.startswith(tuple(f"{name}:" for name in names if name)) else f"{names[0]}: {said}"
