"""Give an output the time, permissions and owner of its input: what others could not read stays unreadable for them."""

from __future__ import annotations

import os
from contextlib import suppress

ACL = "system.posix_acl_access"  # where Linux keeps a list of who has access beside owner and group


def access_list(file: int) -> bytes | None:
    """The access control list of an open file; None where it has none, or the system has another way to keep one."""
    with suppress(OSError, AttributeError):
        return os.getxattr(file, ACL)
    return None


def take_after(path: str, model: os.stat_result, acl: bytes | None = None) -> None:
    """Give a file the time and, on POSIX, the permissions and owner of another one, as far as the system allows."""
    if os.name == "posix":
        for uid, gid in ((-1, model.st_gid), (model.st_uid, -1)):
            with suppress(OSError):
                os.chown(path, uid, gid)
        with suppress(OSError):
            os.chmod(path, _mode(path, model, acl))
    with suppress(OSError):
        os.utime(path, ns=(model.st_atime_ns, model.st_mtime_ns))


def _mode(path: str, model: os.stat_result, acl: bytes | None) -> int:
    """The mode for a file that has its owner and group already; its list is set on the way.

    Where the group could not be kept, nobody but the owner may do more than both the group and everybody could. Where
    there is a list, the group's bits are its mask, and mean nothing without it.
    """
    mode, has_group = model.st_mode & 0o777, os.stat(path).st_gid == model.st_gid
    if not has_group:
        shared = mode >> 3 & mode & 7
        mode = mode & 0o700 | shared << 3 | shared
    with suppress(OSError, AttributeError):  # one that the folder hands down
        os.removexattr(path, ACL)
    if acl is not None:
        try:
            if not has_group:
                return mode & 0o707
            os.setxattr(path, ACL, acl)
        except (OSError, AttributeError):
            return mode & 0o707
    return mode
