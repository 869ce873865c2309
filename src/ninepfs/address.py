"""Addresses of 9P servers, as URLs: where a server listens and what a client connects to.

::

    tcp://HOST[:PORT]       a host name, an IPv4 address or an IPv6 address in brackets; port 5640 unless given
    unix:///run/x.sock      a unix socket; unix:/run/x.sock and a relative unix:x.sock mean the same kind
    vsock://[CID]:PORT      a virtual machine's socket; without CID: any (to listen) or this machine (to connect)
    fd://N                  an inherited file descriptor

A server listens for virtual machines, too (see :func:`parse_listen_address`)::

    vhost-user:///run/x.sock?tag=TAG            a unix socket to which a machine's frontend connects
    vhost-user:///run/x.sock?tag=TAG&connect    one at which it waits; it is the only one

Client commands take a *target*: an address and, behind it, the path of a file in the server's tree, see
:func:`split_target`. Like in every URL, ``%XX`` stands for the byte with that hexadecimal number, so that ``%3F`` is a
question mark in a name and ``%25`` a percent sign.
"""

from __future__ import annotations

import ipaddress
import os
import stat
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias
from urllib.parse import quote, unquote

DEFAULT_PORT: Final = 5640
"""The TCP port of a URL that names none."""

UNIX_PATH_MAX: Final = 107
"""Longest path of a unix socket on Linux, in bytes (``sun_path`` holds one more for a NUL)."""

_MAX_PORT = 0xFFFF
_MAX_U32 = 0xFFFFFFFF
_KINDS = "tcp://HOST:PORT, unix:///PATH, vsock://CID:PORT or fd://N"
_SAFE = "/@:+,=~!$&'()*;"
_SAFE_TAG = "/@:+,=~!$'()*;"

TAG_MAX: Final = 254
"""Longest mount tag of a virtio 9P device, in bytes: what vhost-user carries of a device's configuration, less two.
(QEMU's own 9P device takes 31.)"""


class AddressError(ValueError):
    """A URL that is not an address; its text is one sentence that says what is wrong and what to write instead."""


@dataclass(frozen=True, slots=True)
class TcpAddress:
    """A TCP port of a host, which is a name or an address; port 0 lets the system choose one when listening."""

    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return f"tcp://[{self.host}]:{self.port}" if ":" in self.host else f"tcp://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class UnixAddress:
    """A unix socket of this host, by its path (undecodable bytes as surrogates, like in :mod:`os`)."""

    path: str

    def __str__(self) -> str:
        escaped = quote(os.fsencode(self.path), safe=_SAFE)
        return f"unix://{escaped}" if escaped.startswith("/") else f"unix:{escaped}"


@dataclass(frozen=True, slots=True)
class VsockAddress:
    """A vsock port of a machine; cid None means any machine when listening, and this one when connecting."""

    cid: int | None
    port: int

    def __str__(self) -> str:
        return f"vsock://{'' if self.cid is None else self.cid}:{self.port}"


@dataclass(frozen=True, slots=True)
class FdAddress:
    """A descriptor that the process inherited: a connected or a listening socket."""

    fd: int

    def __str__(self) -> str:
        return f"fd://{self.fd}"


@dataclass(frozen=True, slots=True)
class VhostUserAddress:
    """A unix socket of this host at which a virtual machine finds a virtio 9P device.

    ``tag`` is what the guest mounts it by (1 to 254 bytes; undecodable ones as surrogates). With ``connect`` it is the
    machine that listens, and the server that connects.
    """

    path: str
    tag: str
    connect: bool = False

    def __str__(self) -> str:
        options = f"?tag={quote(os.fsencode(self.tag), safe=_SAFE_TAG)}{'&connect' if self.connect else ''}"
        return "vhost-user" + str(UnixAddress(self.path)).removeprefix("unix") + options


Address: TypeAlias = TcpAddress | UnixAddress | VsockAddress | FdAddress
"""Where a client finds a server."""

ListenAddress: TypeAlias = Address | VhostUserAddress
"""Where a server listens."""


class Target(NamedTuple):
    """A file on a server: the server's address, the path below the export's root, and which export, if given.

    ``path`` has no slash at its beginning and is empty for the root itself; undecodable bytes are surrogates, like in
    :mod:`os`.
    """

    address: Address
    path: str
    aname: str | None


def parse_address(url: str) -> Address:
    """The address that ``url`` stands for; ``str()`` of it is its canonical URL.

    Raises:
        AddressError: ``url`` is not an address, or has something behind the address.
    """
    kind, rest = _split_kind(url)
    if "?" in rest:
        raise AddressError(f"{url!r} has options behind the address; leave out '?' and what follows.")
    if kind == "unix":
        return _unix(url, _decode(rest))
    authority, path = _split_authority(rest)
    if path.strip("/"):
        raise AddressError(f"{url!r} has a path behind the address; leave out '/{path}'.")
    return _network(url, kind, authority)


def parse_listen_address(url: str) -> ListenAddress:
    """Like :func:`parse_address`, with those at which only servers can be.

    Raises:
        AddressError: ``url`` is not an address, or has something behind the address.
    """
    kind, colon, rest = url.partition(":")
    if kind.lower() != "vhost-user" or not colon:
        return parse_address(url)
    path, _, query = (rest.removeprefix("//") if rest.startswith("///") else rest).partition("?")
    tag, connect = b"", False
    for option in query.split("&") if query else ():
        name, equals, value = option.partition("=")
        if name == "tag" and equals:
            tag = os.fsencode(_decode(value))
        elif option == "connect":
            connect = True
        else:
            raise AddressError(
                f"{url!r} has an option that is neither 'tag=TAG' nor 'connect' behind '?'; write %26 for an ampersand."
            )
    if not tag or len(tag) > TAG_MAX or b"\0" in tag:
        raise AddressError(
            f"{url!r} needs a mount tag of 1 to {TAG_MAX} bytes; write vhost-user:///run/x.sock?tag=share."
        )
    return VhostUserAddress(_unix(url, _decode(path)).path, os.fsdecode(tag), connect)


def split_target(url: str) -> Target:
    """Splits ``ADDRESS[/PATH][?aname=EXPORT]``, what client commands take, into its parts.

    For most kinds of address the path begins at the first slash behind it: ``tcp://host:5640/etc/motd``. The path of a
    unix socket contains slashes itself. There the address is the part of the path that is a socket on this host, and
    what follows is the path in the tree: ``unix:///run/x.sock/etc/motd``. If no part is a socket, a double slash
    separates the two, ``unix:///run/x.sock//etc/motd``, and without one everything is the address.

    Raises:
        AddressError: ``url`` is not such a target.
    """
    kind, rest = _split_kind(url)
    rest, mark, query = rest.partition("?")
    aname = _aname(url, query) if mark else None
    if kind == "unix":
        socket_path, path = _split_unix(_decode(rest))
        return Target(_unix(url, socket_path), path.lstrip("/"), aname)
    authority, path = _split_authority(rest)
    return Target(_network(url, kind, authority), _decode(path).lstrip("/"), aname)


def _split_kind(url: str) -> tuple[str, str]:
    """The scheme, and what follows ``scheme:`` with the two slashes removed where they belong to the scheme."""
    kind, colon, rest = url.partition(":")
    kind = kind.lower()
    if kind == "unix" and colon:
        return kind, rest.removeprefix("//") if rest.startswith("///") else rest
    if kind == "vhost-user" and colon:
        raise AddressError(f"{url!r} is for virtual machines; programs connect to {_KINDS}.")
    if kind not in ("tcp", "vsock", "fd") or not rest.startswith("//"):
        raise AddressError(f"{url!r} is not the address of a 9P server; write {_KINDS}.")
    return kind, rest[2:]


def _decode(text: str) -> str:
    return unquote(text, errors="surrogateescape")


def _split_authority(rest: str) -> tuple[str, str]:
    authority, _, path = rest.partition("/")
    return authority, path


def _aname(url: str, query: str) -> str:
    name, equals, value = query.partition("=")
    if name != "aname" or not equals or "&" in value:
        raise AddressError(
            f"{url!r} has an option that is not 'aname=EXPORT' behind '?'; write %3F for a question mark in a name."
        )
    return _decode(value)


# --- unix -------------------------------------------------------------------------------------------------------


def _unix(url: str, path: str) -> UnixAddress:
    if path.startswith("//"):
        raise AddressError(f"{url!r} has the wrong number of slashes; write unix:///run/x.sock for /run/x.sock.")
    if not path or path.endswith("/"):
        raise AddressError(f"{url!r} names no socket; write its path, for example unix:///run/x.sock.")
    if "\0" in path:
        raise AddressError(f"{url!r} has a NUL in the path of the socket; write a path without %00.")
    size = len(os.fsencode(path))
    if size > UNIX_PATH_MAX:
        raise AddressError(
            f"The path of the socket in {url!r} has {size} bytes, more than the {UNIX_PATH_MAX} that the system allows;"
            " use a shorter one."
        )
    return UnixAddress(path)


def _split_unix(path: str) -> tuple[str, str]:
    """The path of the socket, and what follows it."""
    end = len(path)
    while end > 0:
        if _is_socket(path[:end]):
            return path[:end], path[end:]
        end = path.rfind("/", 0, end)
    double = path.find("//", 1)
    return (path[:double], path[double:]) if double > 0 else (path, "")


def _is_socket(path: str) -> bool:
    try:
        return stat.S_ISSOCK(os.stat(path).st_mode)
    except (OSError, ValueError):
        return False


# --- the others -------------------------------------------------------------------------------------------------


def _network(url: str, kind: str, authority: str) -> Address:
    if kind == "tcp":
        return _tcp(url, authority)
    if kind == "vsock":
        return _vsock(url, authority)
    return FdAddress(_number(url, authority, 0x7FFFFFFF, "file descriptor", "fd://3"))


def _tcp(url: str, authority: str) -> TcpAddress:
    if authority.startswith("["):
        host, bracket, port = authority[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            raise AddressError(f"{url!r} has a bracket out of place; write tcp://[ADDRESS]:PORT.")
        try:
            host = str(ipaddress.IPv6Address(host))
        except ValueError:
            raise AddressError(f"{host!r} is not an IPv6 address; write one like [::1], or a name.") from None
        port = port[1:] if port else str(DEFAULT_PORT)
    else:
        host, colon, port = authority.partition(":")
        if ":" in port:
            raise AddressError(f"{url!r} has an IPv6 address without brackets; write tcp://[ADDRESS]:PORT.")
        port = port if colon else str(DEFAULT_PORT)
        if not host:
            raise AddressError(f"{url!r} names no host; write one, for example tcp://127.0.0.1:{port or DEFAULT_PORT}.")
        if not all(c.isalnum() or c in "-._" for c in host):
            raise AddressError(f"{host!r} is not the name of a host; write a name or an address.")
    return TcpAddress(host, _number(url, port, _MAX_PORT, "port", f"tcp://HOST:{DEFAULT_PORT}"))


def _vsock(url: str, authority: str) -> VsockAddress:
    cid, colon, port = authority.partition(":")
    if not colon:
        raise AddressError(f"{url!r} names no port; write vsock://CID:PORT, or vsock://:PORT without a CID.")
    example = f"vsock://2:{DEFAULT_PORT}"
    return VsockAddress(
        _number(url, cid, _MAX_U32, "CID", example) if cid else None,
        _number(url, port, _MAX_U32, "port", example),
    )


def _number(url: str, text: str, largest: int, what: str, example: str) -> int:
    if not (text.isascii() and text.isdigit()) or len(text) > 10 or int(text) > largest:
        raise AddressError(f"{text!r} in {url!r} is not a {what} from 0 to {largest}; write it like in {example}.")
    return int(text)
