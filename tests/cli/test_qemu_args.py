"""``9pfs qemu-args`` as a process of its own."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

COMMAND = str(Path(sys.executable).parent / "9pfs")


def qemu_args(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The finished command."""
    return subprocess.run(
        [COMMAND, "qemu-args", *arguments], capture_output=True, text=True, timeout=20, check=False, cwd="/run"
    )


def test_one_line_for_a_shell() -> None:
    """Memory that is shared comes once, and a device for each address; its configuration is a length and the tag."""
    result = qemu_args("--memory", "4G", "vhost-user:x.sock?tag=share", "vhost-user:///srv/a%20b,c?tag=%C3%BC&connect")
    assert (result.returncode, result.stderr) == (0, "")
    (line,) = result.stdout.splitlines()
    device = "vhost-user-test-device-pci,chardev={},virtio-id=9,num_vqs=1,vq_size=128,config_size={}"
    assert shlex.split(line) == [
        *("-object", "memory-backend-memfd,id=mem,size=4G,share=on", "-machine", "memory-backend=mem"),
        *("-chardev", "socket,id=share0,path=/run/x.sock", "-device", device.format("share0", 7)),
        *("-chardev", "socket,id=share1,path=/srv/a b,,c,server=on,wait=on", "-device", device.format("share1", 4)),
    ]


def test_mistakes_get_one_plain_sentence() -> None:
    for arguments in (
        ("unix:///run/x.sock",),
        ("vhost-user:///run/x.sock",),
        ("vhost-user:///run/x.sock?tag=a", "nonsense"),
        ("vhost-user:///run/x.sock?tag=a", "--memory", "much"),
        ("vhost-user:///run/x.sock?tag=a", "--memory", "0G"),
        (),
    ):
        result = qemu_args(*arguments)
        assert (result.returncode, result.stdout) == (2, "")
        (line,) = result.stderr.splitlines()
        assert line.startswith("9pfs qemu-args: ")
        assert line.endswith(".")
