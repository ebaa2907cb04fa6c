"""Many seeds on many processes: each seed comes back with a verdict, whatever becomes of its process.

A worker process takes chunks of seeds and sends one verdict after the other. One that dies, or spends
more than its share of the processor on one seed, has that seed come back as a broken promise; another
worker goes on with the next seed. It knows nothing of clusters: what a seed means is the work's affair.
"""

from __future__ import annotations

import faulthandler
import gc
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Self

from twisted.logger import globalLogBeginner

from raftdb.simulation.run.plan import draw
from raftdb.simulation.run.run_seed import Verdict, run_seed

CHUNK_MAX = 16
"""Seeds that a worker takes at a time."""

CPU_MAX_S = 120
"""Of one seed: hundred times what the slowest good one takes."""

POLL_S = 1.0
"""How long at most nothing comes out of :meth:`SeedProcesses.verdicts`, so that progress can be told."""

_SPAWN = get_context("spawn")


def quiet() -> None:
    """Let the nodes' log go nowhere: simulated failures are expected, the verdict tells the rest."""
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)


class SeedProcesses:
    """A context: while it is open there are workers, and none of them is left behind.

    :param seeds: to be run, each once
    :param jobs: processes at a time, at least 1
    :param work: what is done with a seed, in another process; it must be importable there
    :param cpu_max_s: what one seed may cost, in seconds of a processor
    """

    def __init__(
        self,
        seeds: Sequence[int],
        *,
        jobs: int,
        work: Callable[[int], Verdict] = run_seed,
        cpu_max_s: float = CPU_MAX_S,
    ) -> None:
        assert jobs > 0
        self._seeds = seeds
        self._given = 0
        self._chunk = max(1, min(CHUNK_MAX, len(seeds) // (4 * jobs)))
        self._work = work
        self._cpu_max_s = cpu_max_s
        self._again: deque[Sequence[int]] = deque()
        self._workers: list[_Worker] = []
        self._jobs = jobs

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all workers, in the middle of whatever they do."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.close()
        self._workers.clear()

    def verdicts(self) -> Iterator[Verdict | None]:
        """Yield a verdict for every seed, as they come, and None whenever none has come for a while."""
        while True:
            while len(self._workers) < self._jobs and (seeds := self._next_chunk()):
                self._workers.append(_Worker(self._work, self._cpu_max_s, seeds))
            if not self._workers:
                return
            ready = wait([worker.pipe for worker in self._workers], POLL_S)
            if not ready:
                yield None
            for worker in [worker for worker in self._workers if worker.pipe in ready]:
                yield self._hear(worker)

    def _next_chunk(self) -> Sequence[int]:
        if self._again:
            return self._again.popleft()
        begin, self._given = self._given, self._given + self._chunk
        return self._seeds[begin : self._given]

    def _hear(self, worker: _Worker) -> Verdict:
        seed, rest = worker.seeds[0], worker.seeds[1:]
        try:
            verdict: Verdict = worker.pipe.recv()
        except (EOFError, ConnectionError):
            self._workers.remove(worker)
            if rest:
                self._again.append(rest)
            return _killed(seed, worker.close(), self._cpu_max_s)
        worker.seeds = rest
        if not rest:
            worker.seeds = self._next_chunk()
            if worker.seeds:
                worker.pipe.send(worker.seeds)
            else:
                self._workers.remove(worker)
                worker.close()
        return verdict


class _Worker:
    """One process, and the seeds that it has still to judge; the first one is in its hands."""

    def __init__(
        self, work: Callable[[int], Verdict], cpu_max_s: float, seeds: Sequence[int]
    ) -> None:
        self.seeds = seeds
        self.pipe, theirs = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_main, args=(theirs, work, cpu_max_s), daemon=True)
        self.process.start()
        theirs.close()
        self.pipe.send(seeds)

    def close(self) -> int:
        """Wait for its end, which is near; return how it ended."""
        self.pipe.close()
        self.process.join()
        status = self.process.exitcode
        assert status is not None, "it has been waited for"
        self.process.close()
        return status


def _killed(seed: int, status: int, cpu_max_s: float) -> Verdict:
    how = f"status {status}" if status >= 0 else signal.Signals(-status).name
    if status == -signal.SIGPROF:
        how = f"it took more than {cpu_max_s} s of a processor"
    return Verdict(
        plan=draw(seed),
        digest="",
        violation=f"its process was ended: {how}",
        events=(),
        answered=0,
        acknowledged=0,
        boots=0,
        term=0,
        changes=0,
    )


def _main(pipe: Connection, work: Callable[[int], Verdict], cpu_max_s: float) -> None:
    """Judge seeds until nobody asks any more: the life of a worker."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the parent's, who ends its workers
    faulthandler.register(signal.SIGPROF, chain=True)  # says where, then the process ends
    quiet()
    # A run makes no garbage worth looking for before its end: run() looks for it then.
    gc.freeze()
    gc.disable()
    try:
        while True:
            for seed in pipe.recv():
                signal.setitimer(signal.ITIMER_PROF, cpu_max_s)
                verdict = work(seed)
                signal.setitimer(signal.ITIMER_PROF, 0)
                pipe.send(verdict if verdict.violation else replace(verdict, events=()))
                del verdict
                gc.collect()
    except (EOFError, ConnectionError):
        return
