"""A system-call filter for builds: what the namespaces of a sandbox leave open and a build has no use for.

A network namespace does not cover every socket family: AF_VSOCK reaches the hypervisor, AF_ALG and Bluetooth reach
kernel code. So sockets other than local, IPv4, IPv6 and netlink ones do not exist, io_uring (which could open them
unseen) does not exist, and neither do the system calls below, which builds do not need and attacks on the kernel do.
Calls in a foreign binary format (32-bit on 64-bit) end the process, since their numbers would pass the filter under
another meaning.

The filter is a classic BPF program for seccomp(2), in the byte order of the machine.
"""

from __future__ import annotations

import errno
import platform
import struct
from dataclasses import dataclass

from glasshouse.conveyor.errors import SandboxUnavailable

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
# Offsets in struct seccomp_data.
_NUMBER, _MACHINE, _FIRST_ARGUMENT = 0, 4, 16
_X32_BIT = 0x40000000
_SOCKET_FAMILIES = (1, 2, 10, 16)


@dataclass(frozen=True, kw_only=True)
class _Machine:
    """The AUDIT_ARCH number of an architecture, and the system-call numbers that the filter names."""

    audit: int
    socket: int
    absent: tuple[int, ...]


# add_key, request_key, keyctl, perf_event_open, bpf, userfaultfd, then io_uring_setup, _enter and _register.
_MACHINES = {
    "x86_64": _Machine(audit=0xC000003E, socket=41, absent=(248, 249, 250, 298, 321, 323, 425, 426, 427)),
    "aarch64": _Machine(audit=0xC00000B7, socket=198, absent=(217, 218, 219, 241, 280, 282, 425, 426, 427)),
}


def filter_program(machine: str | None = None) -> bytes:
    """The filter for a machine, this one by default. Raises `SandboxUnavailable` on an unknown architecture."""
    name = machine or platform.machine()
    known = _MACHINES.get(name)
    if known is None:
        raise SandboxUnavailable(f"builds are isolated on {' and '.join(_MACHINES)} only, this machine is {name}")
    no_system_call = _ERRNO | errno.ENOSYS
    program = [
        (_LOAD, 0, 0, _MACHINE),
        (_EQUAL, 1, 0, known.audit),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, no_system_call),
    ]
    for number in known.absent:
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, no_system_call)]
    program += [(_EQUAL, 1, 0, known.socket), (_RETURN, 0, 0, _ALLOW), (_LOAD, 0, 0, _FIRST_ARGUMENT)]
    for family in _SOCKET_FAMILIES:
        program += [(_EQUAL, 0, 1, family), (_RETURN, 0, 0, _ALLOW)]
    program.append((_RETURN, 0, 0, _ERRNO | errno.EAFNOSUPPORT))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
