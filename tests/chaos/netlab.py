"""A network of this machine's own: one namespace per host, a switch between them, and cables to cut.

Only iproute2 is needed. Every host is a network namespace with one interface; the other ends of
these cables are ports of a bridge in a namespace of its own. What one host is not to hear from
another is dropped where it arrives, silently, by a routing rule: so a cut is one-way, and no sender
learns of it but by the silence.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Iterable

SWITCH = "switch"
CLIENTS = "clients"
_CLONE_NEWNET = 0x40000000
ISOLATED = ["setpriv", "--pdeathsig", "KILL", "unshare"]
ISOLATED += ["--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
"""Runs a command as the first process of its own namespaces: none there outlives it, nor it us."""

_ENVIRONMENT = {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}
"""With the places of ``ip`` and ``tc``, which are in nobody's PATH but root's on some systems."""

_PROBE = """set -e
mkdir -p /run/netns
mount -t tmpfs none /run/netns
ip netns add probe
ip -n probe link add bridge0 type bridge
ip -n probe link add one type veth peer name other
ip -n probe rule add pref 10 from 10.99.0.1 iif one blackhole
tc -Version
"""
_CUT, _LOCAL = 10, 20
"""The order of the rules: what is for this host is first asked for at 0, before any cut could act."""


class Lab:
    """The hosts and what is between them. All of it ends with the processes that are in it."""

    def __init__(self) -> None:
        self._addresses: dict[str, str] = {}
        self._cuts: set[tuple[str, str]] = set()
        self._slow: set[str] = set()
        _run("ip", "netns", "add", SWITCH)
        _run("ip", "-n", SWITCH, "link", "add", "bridge0", "type", "bridge")
        _run("ip", "-n", SWITCH, "link", "set", "bridge0", "up")
        self.add(CLIENTS, 254)

    def add(self, host: str, number: int) -> str:
        """Add a host and return its address.

        :param host: its name, at most 15 bytes
        :param number: the last byte of its address
        """
        address = f"10.99.0.{number}"
        _run("ip", "netns", "add", host)
        _batch(
            SWITCH,
            f"link add {host} type veth peer name eth0 netns {host}",
            f"link set {host} master bridge0 up",
        )
        _batch(host, "link set lo up", f"addr add {address}/24 dev eth0", "link set eth0 up")
        _batch(host, f"rule add pref {_LOCAL} lookup local", "rule del pref 0")
        self._addresses[host] = address
        return address

    def enter(self, host: str) -> None:
        """Move the calling thread, and all it will start, to a host."""
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/run/netns/{host}", encoding="ascii") as namespace:  # noqa: PTH123  # no text file
            if libc.setns(namespace.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"cannot enter {host}")

    def cut(self, links: Iterable[tuple[str, str]]) -> None:
        """Let nothing through from the first to the second of each pair."""
        wanted = [link for link in links if link not in self._cuts]
        self._rules("add", wanted)
        self._cuts.update(wanted)

    def slow(self, host: str) -> str:
        """Make everything that a host sends slow and lossy; return how.

        netem delays and loses at random; where the kernel has none, a narrow pipe with a short
        queue does the same by other means.
        """
        self._slow.add(host)
        add = ("tc", "-n", host, "qdisc", "add", "dev", "eth0", "root")
        netem = (*add, "netem", "delay", "40ms", "20ms", "loss", "5%")
        if subprocess.run(netem, check=False, capture_output=True).returncode == 0:
            return "40 ms and 5 % loss"
        _run(*add, "tbf", "rate", "256kbit", "burst", "3000", "latency", "60ms")
        return "256 kbit/s and 60 ms of queue"

    def heal(self) -> None:
        """Repair everything."""
        self._rules("del", sorted(self._cuts))
        self._cuts.clear()
        for host in sorted(self._slow):
            _run("tc", "-n", host, "qdisc", "del", "dev", "eth0", "root")
        self._slow.clear()

    def _rules(self, verb: str, links: list[tuple[str, str]]) -> None:
        for receiver in sorted({receiver for _, receiver in links}):
            sources = [self._addresses[sender] for sender, to in links if to == receiver]
            _batch(
                receiver,
                *(
                    f"rule {verb} pref {_CUT} from {source} iif eth0 blackhole"
                    for source in sources
                ),
            )


def _batch(host: str, *lines: str) -> None:
    """Run several commands of ``ip`` in one process, so that a partition comes at once."""
    _run("ip", "-n", host, "-batch", "-", text="\n".join(lines) + "\n")


def _run(*command: str, text: str = "") -> None:
    done = subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, env=_ENVIRONMENT
    )
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {text}{done.stderr}")


def why_impossible() -> str | None:
    """Return why there can be no such network here, or None."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        done = subprocess.run(
            [*ISOLATED, "sh", "-c", _PROBE],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
            env=_ENVIRONMENT,
        )
    except FileNotFoundError as missing:
        return f"util-linux is needed: {missing}"
    except subprocess.TimeoutExpired:
        return "making a network namespace takes longer than 20 s"
    return f"no network namespaces here: {done.stderr.strip()}" if done.returncode else None
