"""A queue with one giver and one taker, of which either may die at any moment.

    python examples/job_queue.py HOST:PORT[,HOST:PORT...] give JOB...
    python examples/job_queue.py HOST:PORT[,HOST:PORT...] take

A job and the new end of the queue are written in one atomic step, so the queue has no hole. A job is
done before the taker moves on, so a taker that dies does its last job once more: at least once. A write
whose outcome is unknown is settled by reading: either the queue has grown by this job or it has not.
(It may still be on its way, as examples/counter.py says.)
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from raftdb.client import Client
from raftdb.errors import OutcomeUnknown


class Queue:
    """Jobs ``queue/NUMBER``, of which ``[queue/first, queue/end)`` wait."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def _number(self, name: str) -> int:
        found = await self._client.get(f"queue/{name}", level="consistent")
        return int(found or b"0")

    async def give(self, job: str) -> int:
        """Append a job; return its number. There is one giver."""
        end = await self._number("end")
        while True:
            try:
                await self._client.put_many({f"queue/{end}": job, "queue/end": str(end + 1)})
            except OutcomeUnknown:
                if await self._number("end") == end:
                    continue  # it was not written; if it still comes, it writes the same
            return end

    async def take(self) -> tuple[int, str] | None:
        """Return the next job without taking it off, None where none waits."""
        first, end = await self._number("first"), await self._number("end")
        if first == end:
            return None
        job = await self._client.get(f"queue/{first}", level="consistent")
        return first, (job or b"").decode()

    async def done(self, number: int) -> None:
        """Take the job off; done twice is done once. There is one taker."""
        while True:
            try:
                await self._client.put("queue/first", str(number + 1))
            except OutcomeUnknown:
                continue
            break
        await self._client.delete(f"queue/{number}")


async def main(reactor: Any, endpoints: str, what: str, *jobs: str) -> None:
    """Give jobs, or take all that wait."""
    client = Client(reactor, endpoints.split(","))
    queue = Queue(client)
    if what == "give":
        for job in jobs:
            print(f"job {await queue.give(job)}: {job}")
    while what == "take" and (taken := await queue.take()) is not None:
        number, job = taken
        print(f"did {number}: {job}")
        await queue.done(number)
    await client.close()


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(main(reactor, *sys.argv[1:])))
