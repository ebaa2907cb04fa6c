"""What a seed stands for: size, limits, workload and faults of one run, all drawn from it.

Every property is switched on or off per seed (Groce et al., *Swarm Testing*, 2012): a run in which
everything happens never gets to the states that need one kind of fault and peace from the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from random import Random

from raftdb.raft.config import Config
from raftdb.replica import ReplicaOptions
from raftdb.simulation.faults.nemesis import FAULTS, RARE

NAMES = "abcdefg"
SIZES = (1, 2, 3, 3, 3, 4, 5, 5, 7)
WIRED = 0.5
"""The share of seeds whose nodes are connected by bytes."""

RARELY = 0.25
"""The share of seeds in which one of the rare faults can happen."""

KiB = 1024
MiB = 1024 * KiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits of the core, small enough to be met; see :class:`~raftdb.raft.config.Config`."""

    append_bytes_max: int = 1 * MiB
    inflight_messages_max: int = 256
    uncommitted_bytes_max: int = 32 * MiB
    apply_bytes_max: int = 256 * KiB
    reads_max: int = 100_000

    def configure(self, config: Config) -> Config:
        """Return a configuration with these limits, nested."""
        return replace(
            config,
            append_bytes_max=self.append_bytes_max,
            inflight_messages_max=self.inflight_messages_max,
            inflight_bytes_max=max(config.inflight_bytes_max, self.append_bytes_max),
            uncommitted_bytes_max=self.uncommitted_bytes_max,
            apply_bytes_max=self.apply_bytes_max,
            reads_max=self.reads_max,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One run.

    :param seed: everything else follows from it
    :param names: the first voters
    :param wired: whether connected by bytes, with production's peer transport and membership, and so
        durable; else messages are carried one by one, which can be lost, repeated and reordered
    :param durable: whether on the production storage over lossy disks
    :param reconfigure: whether members come and go
    :param fast_failover: whether a killed node's peers find its port closed
    :param drift: by how much the rates of clocks differ from the true one, at most
    :param storm_s: how long faults happen, in simulated seconds
    :param interval_s: between two faults, on average
    :param faults: what can happen
    :param clients: how many
    :param keys: that they share
    :param pause_s: the longest time between two operations of a client
    :param manners: whether a healed cluster is watched when a follower is away and a leader cut off
    :param copied: whether a wired cluster meets a second process on a copied disk at its end
    :param narrow: whether a healed cluster is watched when large frames of its leader are lost
    :param liveness: whether the phase of broken minorities follows before everything is healed
    """

    seed: int
    names: str = "abc"
    wired: bool = False
    durable: bool = False
    reconfigure: bool = False
    fast_failover: bool = True
    drift: float = 0.0
    storm_s: float = 6.0
    interval_s: float = 0.6
    faults: tuple[str, ...] = FAULTS
    clients: int = 4
    keys: int = 3
    pause_s: float = 0.05
    options: ReplicaOptions = field(default_factory=ReplicaOptions)
    limits: Limits = field(default_factory=Limits)
    liveness: bool = True
    manners: bool = True
    copied: bool = False
    narrow: bool = False


def draw(seed: int) -> Plan:
    """Return what a seed stands for."""
    rng = Random(f"{seed}/plan")
    size = rng.choice(SIZES)
    keen = rng.random() < 0.3
    wiring = Random(f"{seed}/wired")
    wired = wiring.random() < WIRED
    bounds = Random(f"{seed}/bounds")
    crowded = bounds.random() < 0.3
    weather = Random(f"{seed}/rare weather")
    return Plan(
        seed=seed,
        names=NAMES[:size],
        wired=wired,
        durable=rng.random() < 0.5 or wired,
        reconfigure=rng.random() < 0.4,
        fast_failover=rng.random() < 0.7,
        drift=rng.choice((0.0, 0.0, 0.001, 0.1)),
        storm_s=rng.uniform(2.0, 7.0),
        interval_s=rng.choice((0.15, 0.4, 0.8, 1.5)),
        faults=tuple(fault for fault in FAULTS if rng.random() < 0.5)
        + tuple(fault for fault in RARE if weather.random() < RARELY),
        clients=rng.choice((1, 3, 6)),
        keys=rng.choice((1, 3, 5)),
        pause_s=0.02 if keen else 0.1,
        options=ReplicaOptions(
            waiting_max=rng.choice((4, 10_000)),
            snapshot_entries=rng.choice((10, 30, 100, 1000, 50_000)),
            snapshot_bytes=bounds.choice((300, 2 * KiB)) if crowded else 64 * MiB,
            pinned_bytes_max=bounds.choice((1, 100)) if crowded else 64 * MiB,
        ),
        limits=Limits(
            append_bytes_max=rng.choice((300, 2 * KiB, 8 * KiB, 1 * MiB)),
            inflight_messages_max=rng.choice((1, 3, 256)),
            uncommitted_bytes_max=rng.choice((1 * KiB, 32 * MiB)),
            apply_bytes_max=rng.choice((200, 2 * KiB, 256 * KiB)),
            reads_max=rng.choice((2, 100_000)),
        ),
        copied=wired and wiring.random() < 0.3,
        narrow=weather.random() < RARELY,
    )
