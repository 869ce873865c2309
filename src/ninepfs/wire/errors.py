"""The texts of errors: what Rerror says in 9P2000 and 9P2000.u, and which errno is meant by it.

The texts are those of Linux's ``net/9p/error.c``, because in 9P2000 a Linux client has nothing but them, and takes a
text that it does not know for a defect of the server. They do not depend on the locale of the host.
"""

from __future__ import annotations

import errno

ENAMES: dict[int, bytes] = {
    errno.EPERM: b"Operation not permitted",
    errno.ENOENT: b"No such file or directory",
    errno.EINTR: b"Interrupted system call",
    errno.EIO: b"Input/output error",
    errno.ENXIO: b"No such device or address",
    errno.E2BIG: b"Argument list too long",
    errno.EBADF: b"Bad file descriptor",
    errno.EAGAIN: b"Resource temporarily unavailable",
    errno.ENOMEM: b"Cannot allocate memory",
    errno.EACCES: b"Permission denied",
    errno.EFAULT: b"Bad address",
    errno.ENOTBLK: b"Block device required",
    errno.EBUSY: b"Device or resource busy",
    errno.EEXIST: b"File exists",
    errno.EXDEV: b"Invalid cross-device link",
    errno.ENODEV: b"No such device",
    errno.ENOTDIR: b"Not a directory",
    errno.EISDIR: b"Is a directory",
    errno.EINVAL: b"Invalid argument",
    errno.ENFILE: b"Too many open files in system",
    errno.EMFILE: b"Too many open files",
    errno.ETXTBSY: b"Text file busy",
    errno.EFBIG: b"File too large",
    errno.ENOSPC: b"No space left on device",
    errno.ESPIPE: b"Illegal seek",
    errno.EROFS: b"Read-only file system",
    errno.EMLINK: b"Too many links",
    errno.EPIPE: b"Broken pipe",
    errno.EDOM: b"Numerical argument out of domain",
    errno.ERANGE: b"Numerical result out of range",
    errno.EDEADLK: b"Resource deadlock avoided",
    errno.ENAMETOOLONG: b"File name too long",
    errno.ENOLCK: b"No locks available",
    errno.ENOSYS: b"Function not implemented",
    errno.ENOTEMPTY: b"Directory not empty",
    errno.ELOOP: b"Too many levels of symbolic links",
    errno.ENODATA: b"No data available",
    errno.EREMOTE: b"Object is remote",
    errno.ENOLINK: b"Link has been severed",
    errno.EPROTO: b"Protocol error",
    errno.EBADMSG: b"Bad message",
    errno.EUSERS: b"Too many users",
    errno.EMSGSIZE: b"Message too long",
    errno.EPROTONOSUPPORT: b"Protocol not supported",
    errno.EOPNOTSUPP: b"Operation not supported",
    errno.ENETDOWN: b"Network is down",
    errno.ENETUNREACH: b"Network is unreachable",
    errno.ECONNABORTED: b"Software caused connection abort",
    errno.ECONNRESET: b"Connection reset by peer",
    errno.ENOBUFS: b"No buffer space available",
    errno.ENOTCONN: b"Transport endpoint is not connected",
    errno.ESHUTDOWN: b"Cannot send after transport endpoint shutdown",
    errno.ETIMEDOUT: b"Connection timed out",
    errno.ECONNREFUSED: b"Connection refused",
    errno.EHOSTDOWN: b"Host is down",
    errno.EHOSTUNREACH: b"No route to host",
    errno.EALREADY: b"Operation already in progress",
    errno.EINPROGRESS: b"Operation now in progress",
    errno.EREMOTEIO: b"Remote I/O error",
    errno.EDQUOT: b"Disk quota exceeded",
}
"""errno -> text, for every errno that has one."""

_NEAREST = {
    errno.EOVERFLOW: errno.EFBIG,
    errno.ESTALE: errno.ENOENT,
    errno.ENOTTY: errno.EINVAL,
    errno.ENOMEDIUM: errno.ENXIO,
}
"""What is said instead of an errno that has no text of its own in Linux's table; for all others EIO."""

_SPOKEN = {
    b"file does not exist": errno.ENOENT,
    b"file not found": errno.ENOENT,
    b"directory entry not found": errno.ENOENT,
    b"permission denied": errno.EACCES,
    b"not owner": errno.EACCES,
    b"wstat prohibited": errno.EPERM,
    b"wstat can't convert between files and directories": errno.EPERM,
    b"file already exists": errno.EEXIST,
    b"file exists": errno.EEXIST,
    b"file or directory already exists": errno.EEXIST,
    b"directory is not empty": errno.ENOTEMPTY,
    b"not a directory": errno.ENOTDIR,
    b"file is a directory": errno.EISDIR,
    b"i/o error": errno.EIO,
    b"fid unknown or out of range": errno.EBADF,
    b"unknown fid": errno.EBADF,
    b"fid already in use": errno.EBADF,
    b"duplicate fid": errno.EBADF,
    b"bad use of fid": errno.EBADF,
    b"illegal mode": errno.EINVAL,
    b"illegal name": errno.EINVAL,
    b"unknown group": errno.EINVAL,
    b"unknown user": errno.EINVAL,
    b"bad offset in directory read": errno.EINVAL,
    b"read only file system": errno.EROFS,
    b"file is read only": errno.EROFS,
    b"file system is full": errno.ENOSPC,
    b"file too big": errno.EFBIG,
    b"file in use": errno.ETXTBSY,
    b"exclusive use file already open": errno.EBUSY,
    b"no authentication required": errno.EOPNOTSUPP,
    b"authentication not required": errno.EOPNOTSUPP,
    b"authentication failed": errno.ECONNREFUSED,
    b"Stale file handle": errno.ESTALE,
}

ERRNOS: dict[bytes, int] = {text: number for number, text in ENAMES.items()} | _SPOKEN
"""text -> errno: the texts above, and those that Plan 9's own file servers use."""


def ename(number: int) -> bytes:
    """What Rerror says for an errno."""
    return ENAMES.get(number) or ENAMES[_NEAREST.get(number, errno.EIO)]
