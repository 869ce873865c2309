"""``9pfs qemu-args``: what to tell QEMU so that a machine has the device."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence

import click

from ninepfs.address import AddressError, VhostUserAddress, parse_listen_address
from ninepfs.cli.mistakes import Plainspoken
from ninepfs.cli.output import say

_ENTRIES = 128
"""Of the queue. Linux needs so many for its largest requests if it cannot describe them indirectly."""

_MEMORY_SIZE = re.compile(r"[1-9][0-9]*[KMGT]?", re.ASCII)


@click.command(cls=Plainspoken)
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@click.option("--memory", "-m", metavar="SIZE", default="1G", show_default=True,
              help="The machine's memory, with M or G behind the number; the same as QEMU's -m, if given.")  # fmt: skip
def command(urls: tuple[str, ...], memory: str) -> None:
    """Print what to tell QEMU, for a shell.

    URLs are those that a server listens on. QEMU must be 10.2 or newer:

    \b
        qemu-system-x86_64 -accel kvm ... \\
            $(9pfs qemu-args 'vhost-user:///run/x.sock?tag=share')
    """
    if not _MEMORY_SIZE.fullmatch(memory):
        raise click.UsageError(f"{memory!r} is not an amount of memory; write for example 2G.")
    try:
        addresses = [parse_listen_address(url) for url in urls]
    except AddressError as failure:
        raise click.UsageError(str(failure)) from None
    found = [address for address in addresses if isinstance(address, VhostUserAddress)]
    if len(found) < len(addresses):
        raise click.UsageError("QEMU finds only vhost-user addresses; write vhost-user:///run/x.sock?tag=share.")
    say(text(found, memory))


def text(addresses: Sequence[VhostUserAddress], memory: str = "SIZE") -> str:
    """The options for a machine with one device for each address, quoted for a shell."""
    words = [
        "-object", f"memory-backend-memfd,id=mem,size={memory},share=on",
        "-machine", "memory-backend=mem",
    ]  # fmt: skip
    for number, address in enumerate(addresses):
        name = f"share{number}"  # QEMU wants a letter first
        # In options of QEMU a comma is written twice.
        path = os.path.abspath(address.path).replace(",", ",,")
        waits = ",server=on,wait=on" if address.connect else ""
        config = 2 + len(os.fsencode(address.tag))
        words += [
            "-chardev", f"socket,id={name},path={path}{waits}",
            "-device", f"vhost-user-test-device-pci,chardev={name},virtio-id=9,num_vqs=1,vq_size={_ENTRIES},"
                       f"config_size={config}",
        ]  # fmt: skip
    return shlex.join(words)
