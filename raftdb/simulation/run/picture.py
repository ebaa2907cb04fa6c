"""Draws a run: a lane for each node, with the roles it was in, above what the clients were answered.

What takes a page of events to understand is often one look: who led when, what was done to whom, and
how long nothing was written. The result is SVG for a browser; it follows its dark or light theme.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TypeAlias

Event: TypeAlias = tuple[float, str, tuple[object, ...]]
"""When, what, about what; as a :class:`~raftdb.simulation.nodes.event_log.EventLog` keeps it."""

WIDTH = 1200
LEFT, RIGHT = 60, 20
TOP = 84
LABEL_ROWS = 4
LABEL_ROW = 13
LANE, BAR = 34, 22
CHART = 90
BUCKET_S = 0.05
CHARACTER = 5.9
"""About the width of a character of the legend."""
LEGEND_GAP = 22

_STYLE = """
svg { font: 11px system-ui, sans-serif; color-scheme: light dark; background: #fff }
text { fill: #333 } .title { font-size: 15px; font-weight: 600 } .bad { fill: #c22; font-weight: 600 }
.axis { stroke: #bbb } .fault { stroke: #d55; stroke-dasharray: 2 3 } .why { fill: #b33 }
.phase { fill: #888; font-style: italic } .part { stroke: #888 }
.down { stroke: #ccc; stroke-dasharray: 3 4 } .follower { fill: #c9d7e8 }
.pre-candidate { fill: #f6dc8a } .candidate { fill: #ee9a3a } .leader { fill: #16796f }
.term { fill: #fff } .paused { fill: url(#hatch) } .hatching { stroke: #555 }
.death { stroke: #c22; stroke-width: 2 } .write { fill: #16796f } .read { fill: #9fc8c2 }
@media (prefers-color-scheme: dark) {
svg { background: #14181c } text { fill: #ccd } .axis { stroke: #444 } .down { stroke: #444 }
.follower { fill: #34465c } .pre-candidate { fill: #8a7420 } .candidate { fill: #b8671a }
.leader { fill: #2aa392 } .read { fill: #275d56 } .write { fill: #2aa392 } .why { fill: #f88 }
.bad { fill: #f66 } .hatching { stroke: #bbb } }
"""


@dataclass
class _Lane:
    """What is known of one node."""

    row: int
    bars: list[tuple[float, float, str, str]] = field(default_factory=list)
    marks: list[tuple[float, str]] = field(default_factory=list)
    pauses: list[tuple[float, float]] = field(default_factory=list)
    since_s: float = 0.0
    role: str | None = None
    label: str = ""

    def become(self, now_s: float, role: str | None, label: str = "") -> None:
        """End what the node was, and begin what it is."""
        if self.role is not None and now_s > self.since_s:
            self.bars.append((self.since_s, now_s, self.role, self.label))
        self.since_s, self.role, self.label = now_s, role, label


class Picture:
    """One run, ready to be drawn.

    :param events: all of them, in order
    :param title: above everything
    :param subtitle: smaller, below it
    :param violation: the broken promise, None where all were kept
    """

    def __init__(
        self,
        events: Sequence[Event],
        title: str,
        *,
        subtitle: str = "",
        violation: str | None = None,
    ) -> None:
        self._title = title
        self._subtitle = subtitle
        self._violation = violation
        self._end_s = max((when_s for when_s, _, _ in events), default=0.0) or 1.0
        self._lanes: dict[str, _Lane] = {}
        self._faults: list[tuple[float, str]] = []
        self._phases: list[tuple[float, str]] = [(0.0, "storm")]
        self._answers: list[tuple[float, bool]] = []
        for when_s, what, about in events:
            self._take(when_s, what, about)
        for lane in self._lanes.values():
            lane.become(self._end_s, None)

    def svg(self) -> str:
        """Return the whole as one file."""
        height = self._chart_top + CHART + 34
        body = "\n".join(
            [*self._head(), *self._draw_faults(), *self._draw_lanes(), *self._draw_answers()]
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}"'
            f' width="{WIDTH}" height="{height}">\n<style>{_STYLE}</style>\n'
            '<defs><pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse"'
            ' patternTransform="rotate(45)"><line class="hatching" y2="5"/></pattern></defs>\n'
            f"{body}\n</svg>\n"
        )

    def _take(self, when_s: float, what: str, about: tuple[object, ...]) -> None:
        match what, about:
            case "answered", (_, str(kind)):
                self._answers.append((when_s, "Get" not in kind))
            case "fault:" | "ambush:", _:
                self._faults.append((when_s, " ".join(map(str, about))))
            case "is away" | "is cut off" | "has a hung disk", (name,):
                self._faults.append((when_s, f"{name} {what}"))
            case "liveness:", _:
                self._phases.append((when_s, " ".join(["then:", *map(str, about)])))
            case "everything is healed", _:
                self._phases.append((when_s, "healed"))
            case _:
                self._take_of_a_node(when_s, what, about)

    def _take_of_a_node(self, when_s: float, what: str, about: tuple[object, ...]) -> None:
        match what, about:
            case "starts", (name, *_):
                lane = self._lanes.setdefault(str(name), _Lane(len(self._lanes)))
                lane.become(when_s, "follower")
            case "is", (name, str(role), "of", _, term):
                label = f"term {term}" if role == "leader" else ""
                self._lanes[str(name)].become(when_s, role, label)
            case "dies", (name,):
                lane = self._lanes[str(name)]
                lane.become(when_s, None)
                lane.marks.append((when_s, "dies"))
            case "crashes by itself" | "refuses to start" | "is wiped", (name, *why):
                told = " ".join([what, *map(str, why)])
                self._lanes[str(name)].marks.append((when_s, told))
            case "pauses", (name, float(seconds)):
                self._lanes[str(name)].pauses.append((when_s, when_s + seconds))
            case _:
                pass  # messages, above all: too many to be drawn

    def _x(self, when_s: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(when_s, self._end_s) / self._end_s

    @property
    def _lanes_top(self) -> int:
        return TOP + LABEL_ROWS * LABEL_ROW + 10

    @property
    def _chart_top(self) -> int:
        return self._lanes_top + len(self._lanes) * LANE + 26

    def _head(self) -> Iterable[str]:
        yield f'<text class="title" x="{LEFT}" y="22">{escape(self._title)}</text>'
        yield f'<text class="phase" x="{LEFT}" y="39">{escape(self._subtitle)}</text>'
        if self._violation is not None:
            first = self._violation.splitlines()[0]
            yield f'<text class="bad" x="{LEFT}" y="56">{escape(first)}</text>'
        bottom = self._chart_top + CHART
        for row, (when_s, name) in enumerate(self._phases):
            x = self._x(when_s)
            y = TOP - 18 + row % 2 * LABEL_ROW
            late = x > WIDTH * 0.7
            yield f'<line class="part" x1="{x:.1f}" x2="{x:.1f}" y1="{y - 9}" y2="{bottom}"/>'
            yield (
                f'<text class="phase" x="{x - 3 if late else x + 3:.1f}" y="{y}"'
                f' text-anchor="{"end" if late else "start"}">{escape(name[:90])}</text>'
            )
        yield from self._legend()

    def _legend(self) -> Iterable[str]:
        """Each square stands right before its word, with more room before the next square."""
        x = float(WIDTH - RIGHT)
        for role in ("leader", "candidate", "pre-candidate", "follower"):
            x -= CHARACTER * len(role)
            yield f'<text x="{x:.1f}" y="20">{role}</text>'
            yield f'<rect class="{role}" x="{x - 15:.1f}" y="10" width="11" height="11"/>'
            x -= 15 + LEGEND_GAP
        yield f'<text x="{x:.1f}" y="20" text-anchor="end">line: down, hatched: paused</text>'

    def _draw_faults(self) -> Iterable[str]:
        free = [0.0] * LABEL_ROWS
        bottom = self._lanes_top + len(self._lanes) * LANE
        for when_s, name in self._faults:
            x = self._x(when_s)
            row = min(range(LABEL_ROWS), key=lambda at: (free[at] > x, free[at], at))
            y = TOP + 12 + row * LABEL_ROW
            yield f'<line class="fault" x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{bottom}"/>'
            if free[row] <= x:  # where there is no room, the line alone has to do
                free[row] = x + 6.2 * len(name) + 8
                yield f'<text class="why" x="{x + 2:.1f}" y="{y}">{escape(name)}</text>'

    def _draw_lanes(self) -> Iterable[str]:
        for name, lane in self._lanes.items():
            y = self._lanes_top + lane.row * LANE
            middle = y + BAR / 2
            yield f'<text x="{LEFT - 12}" y="{middle + 4}" text-anchor="end">{escape(name)}</text>'
            yield (
                f'<line class="down" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{middle}" y2="{middle}"/>'
            )
            for begin_s, end_s, role, label in lane.bars:
                yield self._box(begin_s, end_s, y, role, f"{name}: {role} {label}")
                if label and self._x(end_s) - self._x(begin_s) > 7 * len(label):
                    x = self._x(begin_s) + 4
                    yield f'<text class="term" x="{x:.1f}" y="{middle + 4}">{escape(label)}</text>'
            for begin_s, end_s in lane.pauses:
                yield self._box(begin_s, end_s, y, "paused", f"{name} stands still")
            for when_s, told in lane.marks:
                x = self._x(when_s)
                yield (
                    f'<path class="death" d="M{x - 4:.1f} {middle - 4}l8 8m0 -8l-8 8"><title>'
                    f"{escape(f'{name} {told}')}</title></path>"
                )

    def _box(self, begin_s: float, end_s: float, y: float, kind: str, told: str) -> str:
        x, width = self._x(begin_s), max(self._x(end_s) - self._x(begin_s), 0.5)
        return (
            f'<rect class="{kind}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{BAR}"><title>'
            f"{escape(told)}, {begin_s:.3f} to {end_s:.3f} s</title></rect>"
        )

    def _draw_answers(self) -> Iterable[str]:
        count = int(self._end_s / BUCKET_S) + 1
        writes, reads = [0] * count, [0] * count
        for when_s, is_write in self._answers:
            (writes if is_write else reads)[int(when_s / BUCKET_S)] += 1
        most = max((w + r for w, r in zip(writes, reads, strict=True)), default=0) or 1
        bottom = self._chart_top + CHART
        wide = max((WIDTH - LEFT - RIGHT) * BUCKET_S / self._end_s - 0.3, 0.5)
        for at, (written, read) in enumerate(zip(writes, reads, strict=True)):
            x, base = self._x(at * BUCKET_S), float(bottom)
            for kind, number in (("write", written), ("read", read)):
                if number:
                    high = CHART * number / most
                    base -= high
                    yield (
                        f'<rect class="{kind}" x="{x:.1f}" y="{base:.1f}" width="{wide:.2f}"'
                        f' height="{high:.1f}"/>'
                    )
        yield f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{bottom}" y2="{bottom}"/>'
        yield f'<text x="{LEFT}" y="{self._chart_top - 6}">answered: writes (dark), reads (light)</text>'
        for second in range(int(self._end_s) + 1):
            yield f'<text x="{self._x(second):.1f}" y="{bottom + 16}">{second} s</text>'
