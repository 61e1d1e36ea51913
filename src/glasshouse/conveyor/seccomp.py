"""A system-call filter for builds: what the namespaces of a sandbox leave open and a build has no use for.

A network namespace does not cover every socket family: AF_VSOCK reaches the hypervisor, AF_ALG and Bluetooth reach
kernel code. So sockets other than local, IPv4, IPv6 and netlink ones do not exist, io_uring (which could open them
unseen) does not exist, and neither do the system calls below, which builds do not need and attacks on the kernel do,
or which hold memory that no limit of a process and no size of a work directory counts. No user namespace can be made,
in which a build would be its own root. Calls in a foreign binary format (32-bit on 64-bit) end the process, since
their numbers would pass the filter under another meaning.

The same rules are written in two forms: as a classic BPF program for seccomp(2), in the byte order of the machine,
which bubblewrap takes (`filter_program`), and as the JSON that container engines take (`filter_profile`).
"""

from __future__ import annotations

import errno
import json
import platform
import struct
from dataclasses import dataclass

from glasshouse.conveyor.errors import SandboxUnavailable

_LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_ANY_BIT = 0x45  # BPF_JMP | BPF_JSET | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
# Offsets in struct seccomp_data.
_NUMBER, _MACHINE, _FIRST_ARGUMENT = 0, 4, 16
_X32_BIT = 0x40000000
_SOCKET_FAMILIES = (1, 2, 10, 16)
_MAX_FAMILIES = 64
_CLONE_NEWUSER = 0x10000000


@dataclass(frozen=True, kw_only=True)
class _Machine:
    """The AUDIT_ARCH number and OCI name of an architecture, and the system-call numbers that the filter names.

    `absent` answer as in a kernel without them. `cloning` take the flags of clone(2) as their first argument.
    """

    audit: int
    name: str
    socket: int
    cloning: dict[str, int]
    absent: dict[str, int]


# Through a pointer, where no filter can look: without clone3, libraries fall back to clone.
_SAME_EVERYWHERE = {
    "io_uring_setup": 425,
    "io_uring_enter": 426,
    "io_uring_register": 427,
    "clone3": 435,
    "memfd_secret": 447,
}
_MACHINES = {
    "x86_64": _Machine(
        audit=0xC000003E,
        name="SCMP_ARCH_X86_64",
        socket=41,
        cloning={"clone": 56, "unshare": 272},
        absent={
            "add_key": 248,
            "request_key": 249,
            "keyctl": 250,
            "perf_event_open": 298,
            "bpf": 321,
            "userfaultfd": 323,
            "memfd_create": 319,
            "shmget": 29,
            **_SAME_EVERYWHERE,
        },
    ),
    "aarch64": _Machine(
        audit=0xC00000B7,
        name="SCMP_ARCH_AARCH64",
        socket=198,
        cloning={"clone": 220, "unshare": 97},
        absent={
            "add_key": 217,
            "request_key": 218,
            "keyctl": 219,
            "perf_event_open": 241,
            "bpf": 280,
            "userfaultfd": 282,
            "memfd_create": 279,
            "shmget": 194,
            **_SAME_EVERYWHERE,
        },
    ),
}


def _machine(machine: str | None) -> _Machine:
    name = machine or platform.machine()
    known = _MACHINES.get(name)
    if known is None:
        raise SandboxUnavailable(f"builds are isolated on {' and '.join(_MACHINES)} only, this machine is {name}")
    return known


def filter_program(machine: str | None = None) -> bytes:
    """The filter for a machine, this one by default. Raises `SandboxUnavailable` on an unknown architecture."""
    known = _machine(machine)
    no_system_call = _ERRNO | errno.ENOSYS
    program = [
        (_LOAD, 0, 0, _MACHINE),
        (_EQUAL, 1, 0, known.audit),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
        (_AT_LEAST, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, no_system_call),
    ]
    for number in known.absent.values():
        program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, no_system_call)]
    for number in known.cloning.values():
        program += [
            (_EQUAL, 0, 4, number),
            (_LOAD, 0, 0, _FIRST_ARGUMENT),
            (_ANY_BIT, 0, 1, _CLONE_NEWUSER),
            (_RETURN, 0, 0, _ERRNO | errno.EPERM),
            (_RETURN, 0, 0, _ALLOW),
        ]
    program += [(_EQUAL, 1, 0, known.socket), (_RETURN, 0, 0, _ALLOW), (_LOAD, 0, 0, _FIRST_ARGUMENT)]
    for family in _SOCKET_FAMILIES:
        program += [(_EQUAL, 0, 1, family), (_RETURN, 0, 0, _ALLOW)]
    program.append((_RETURN, 0, 0, _ERRNO | errno.EAFNOSUPPORT))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def filter_profile(machine: str | None = None) -> bytes:
    """The same filter as a seccomp profile of podman and docker. Raises `SandboxUnavailable` as `filter_program`."""
    known = _machine(machine)
    rules: list[dict[str, object]] = [_refusal(sorted(known.absent), errno.ENOSYS)]
    new_user = {"index": 0, "value": _CLONE_NEWUSER, "valueTwo": _CLONE_NEWUSER, "op": "SCMP_CMP_MASKED_EQ"}
    rules.append(_refusal(sorted(known.cloning), errno.EPERM, new_user))
    # One argument cannot be compared twice in one rule, so every other family has a rule of its own.
    for family in sorted(set(range(_MAX_FAMILIES)) - set(_SOCKET_FAMILIES)):
        rules.append(_refusal(["socket"], errno.EAFNOSUPPORT, {"index": 0, "value": family, "op": "SCMP_CMP_EQ"}))
    beyond = {"index": 0, "value": _MAX_FAMILIES, "op": "SCMP_CMP_GE"}
    rules.append(_refusal(["socket"], errno.EAFNOSUPPORT, beyond))
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": [known.name], "syscalls": rules}
    return json.dumps(profile).encode()


def _refusal(names: list[str], number: int, *arguments: dict[str, object]) -> dict[str, object]:
    return {"names": names, "action": "SCMP_ACT_ERRNO", "errnoRet": number, "args": list(arguments)}
