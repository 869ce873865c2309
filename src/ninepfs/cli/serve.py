"""``9pfs serve``: share directories."""

from __future__ import annotations

import gc
import logging
import os
import resource
import shlex
import signal
import socket
import sys

import click

from ninepfs.address import (
    AddressError,
    FdAddress,
    ListenAddress,
    TcpAddress,
    UnixAddress,
    VhostUserAddress,
    VsockAddress,
    parse_listen_address,
)
from ninepfs.cli import dialects as dialects_named
from ninepfs.cli import qemu_args, sizes
from ninepfs.cli.mistakes import Plainspoken
from ninepfs.cli.output import drop_output, reason
from ninepfs.drivers import LocalDriver
from ninepfs.drivers.local import MODELS
from ninepfs.server import DIALECTS, Export, Limits, Server
from ninepfs.transports import Listener, ListenError, listen
from ninepfs.wire import Dialect
from ninepfs.wire.constants import DEFAULT_MSIZE, MAX_MSIZE, MIN_MSIZE

_DEFAULT = "tcp://127.0.0.1:5640"

_VIRTIO_MSIZE = 512000
"""Linux describes a request with at most 128 pages, three of which are not for data."""


@click.command(cls=Plainspoken)
@click.argument("exports", metavar="[ANAME=]PATH...", nargs=-1, required=True)
@click.option("--listen", "-l", "urls", metavar="URL", multiple=True,
              help="Where to listen: tcp://HOST:PORT, unix:///PATH, vsock://:PORT, fd://N, or for virtual machines "
                   "vhost-user:///PATH?tag=TAG. May be repeated. "
                   f"Default: {_DEFAULT}, or the sockets that systemd passes.")  # fmt: skip
@click.option("--security-model", "-s", type=click.Choice(sorted(MODELS)), default=None,
              help="Whose files are on the host: 'passthrough' keeps the client's owners (needs root); 'none' lets "
                   "them belong to the server. Default: passthrough as root, none otherwise.")  # fmt: skip
@click.option("--readonly", "-r", is_flag=True, help="Refuse every change.")
@click.option("--msize", metavar="BYTES", callback=sizes.between(MIN_MSIZE, MAX_MSIZE),
              default=str(DEFAULT_MSIZE), show_default=True,
              help="Largest message to agree to: from 4096 up to 8M.")  # fmt: skip
@click.option("--max-xattr", metavar="N", type=click.IntRange(min=0), default=Limits.xattr_fids, show_default=True,
              help="Fids of one client that may hold an extended attribute; 0 for no limit.")  # fmt: skip
@click.option("--dialects", metavar="DIALECT[,...]", callback=dialects_named.several,
              default=dialects_named.text(DIALECTS), show_default=True, help="The protocols to offer.")  # fmt: skip
@click.option("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="warning",
              show_default=True, help="What to log, to standard error; debug is every request.")  # fmt: skip
def command(
    exports: tuple[str, ...],
    urls: tuple[str, ...],
    security_model: str | None,
    readonly: bool,
    msize: int,
    max_xattr: int,
    dialects: tuple[Dialect, ...],
    log_level: str,
) -> None:
    """Share directories over 9P.

    Several directories are told apart by name: 9pfs serve home=/home music=/srv/music; a client chooses one with the
    mount option aname. A single one needs no name.
    """
    logging.basicConfig(level=log_level.upper(), format="9pfs: %(levelname)s: %(message)s", stream=sys.stderr)
    model = security_model or ("passthrough" if os.geteuid() == 0 else "none")
    _raise_descriptor_limit()
    try:
        shared = [_export(text, model, readonly) for text in exports]
        server = Server(shared, Limits(msize=msize, xattr_fids=max_xattr), dialects, trace=log_level == "debug")
    except ValueError as failure:
        raise click.UsageError(f"{failure}; give each its own as in 'home=/home music=/srv/music'.") from None
    listeners: list[Listener] = []
    try:
        for address in _addresses(urls):
            listeners.append(listen(server, address))  # noqa: PERF401  # those before the one that fails are stopped
    except ListenError as failure:
        for listener in listeners:
            listener.stop()
        raise click.UsageError(f"{failure}.") from None
    # Modes of files come from clients, who have applied their own. Not before now: it would open sockets to everybody.
    os.umask(0)
    # The interpreter hands over between threads every 5 ms by default, which is too seldom for the watchdog when a
    # driver computes.
    sys.setswitchinterval(0.001)
    gc.collect()
    gc.freeze()
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    for listener in listeners:
        listener.start()
    _announce([line for listener in listeners for line in _instructions(listener, server)])
    _wait(signals, listeners)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)  # a second one ends the process at once
    for listener in listeners:
        listener.stop()
    if not server.stop(timeout=20):
        logging.getLogger("ninepfs").warning("some requests did not finish in 20 seconds and are given up")
    os._exit(0)  # threads that hang in a system call would keep the interpreter from ending


def _announce(lines: list[str]) -> None:
    """Say how to mount what is shared. A server whose output nobody reads is a server all the same."""
    try:
        for line in lines:
            click.echo(line)
    except OSError as failure:
        drop_output()
        if not isinstance(failure, BrokenPipeError):
            logging.getLogger("ninepfs").warning("cannot say where it serves: %s", reason(failure))


def _wait(signals: set[signal.Signals], listeners: list[Listener]) -> None:
    """Until a signal comes, or the only clients there can ever be are gone."""
    while all(listener.connected for listener in listeners):
        if signal.sigtimedwait(signals, 0.2) is not None or not any(listener.busy for listener in listeners):
            return
    signal.sigwait(signals)


def _export(text: str, model: str, readonly: bool) -> Export:
    name, separator, path = text.partition("=")
    if not separator or "/" in name:
        name, path = "", text
    if "," in name:
        raise click.UsageError(f"the name {name!r} has a comma, which no mount option can have; choose another.")
    try:
        driver = LocalDriver(path, model)
    except FileNotFoundError:
        raise click.UsageError(f"there is no directory {path!r}.") from None
    except NotADirectoryError:
        raise click.UsageError(f"{path!r} is not a directory; only directories can be shared.") from None
    except OSError as failure:
        raise click.UsageError(f"cannot share {path!r}: {failure.strerror}.") from None
    return Export(driver, name, readonly=readonly)


def _addresses(urls: tuple[str, ...]) -> list[ListenAddress]:
    if not urls:
        passed = _passed_by_systemd()
        return [FdAddress(fd) for fd in passed] or [parse_listen_address(_DEFAULT)]
    try:
        return [parse_listen_address(url) for url in urls]
    except AddressError as failure:
        raise click.UsageError(str(failure)) from None


def _passed_by_systemd() -> list[int]:
    """The sockets of socket activation (sd_listen_fds(3)): LISTEN_FDS descriptors from 3 on, if LISTEN_PID is us."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = os.environ.get("LISTEN_FDS", "")
    return list(range(3, 3 + int(count))) if count.isdigit() else []


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1 << 20), hard))
        except (OSError, ValueError):
            pass


def _instructions(listener: Listener, server: Server) -> list[str]:
    """How to mount what the listener shares: for each export the exact command."""
    if isinstance(listener.address, FdAddress) and _is_stdout(listener.address.fd):
        return []  # started as by inetd: who could read this is the client, and it expects 9P
    where, options = _mount(listener.address, server.limits.msize, max(server.dialects))
    lines = [f"serving on {listener.address}"]
    if isinstance(listener.address, VhostUserAddress):
        lines += [f"  QEMU: {qemu_args.text([listener.address])}", "  and in the guest:"]
    for export in server.exports:
        chosen = f",aname={export.name}" if len(server.exports) > 1 else ""
        lines.append("  " + shlex.join(["mount", "-t", "9p", "-o", options + chosen, where, "/mnt"]))
    return lines


def _is_stdout(fd: int) -> bool:
    return os.path.samestat(os.fstat(fd), os.fstat(1))


def _mount(address: ListenAddress, msize: int, dialect: Dialect) -> tuple[str, str]:
    # Linux takes no more on these transports.
    msize = min(msize, _VIRTIO_MSIZE if isinstance(address, VhostUserAddress) else 1 << 20)
    common = f"version={dialect.version.decode().replace('9P', '9p')},msize={msize}"
    match address:
        case TcpAddress(host, port):
            return _reachable(host), f"trans=tcp,port={port},{common}"
        case UnixAddress(path):
            return os.path.abspath(path), f"trans=unix,{common}"
        case VsockAddress():
            return "share", f"trans=fd,rfdno=N,wfdno=N,{common}"
        case FdAddress():
            return "share", f"trans=fd,rfdno=N,wfdno=N,{common}"
        case VhostUserAddress(tag=tag):
            return tag, f"trans=virtio,{common}"


def _reachable(host: str) -> str:
    """What others write for an address that stands for all of this machine's: the one that it would send from."""
    everywhere = {"0.0.0.0": ("192.0.2.1", socket.AF_INET), "::": ("2001:db8::1", socket.AF_INET6)}
    if host not in everywhere:
        return host
    example, family = everywhere[host]
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((example, 9))  # of a datagram socket: nothing is sent
        except OSError:
            return host
        own: str = probe.getsockname()[0]
        return own
