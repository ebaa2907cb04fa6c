"""The fuzz targets hold for their examples, for what was found once, and for a little noise."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import KEPT, TARGETS


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw a target and one of its examples, with bytes changed, cut away and put in."""
    name = draw(st.sampled_from(list(TARGETS)))
    data = bytearray(draw(st.sampled_from(TARGETS[name].examples())))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        until = at + draw(st.integers(0, 3))
        data[at:until] = draw(st.binary(max_size=3))
    return name, bytes(data)


class TestTargets:
    """No bytes raise anything but what is documented."""

    @pytest.mark.parametrize("name", TARGETS)
    def test_examples(self, name: str) -> None:
        """The search begins at something that is understood."""
        for example in TARGETS[name].examples():
            TARGETS[name].run(example)

    @settings(max_examples=400, deadline=None)
    @given(one=damaged())
    def test_damaged_examples(self, one: tuple[str, bytes]) -> None:
        """Whatever was done to them."""
        name, data = one
        TARGETS[name].run(data)

    def test_what_was_found_once(self) -> None:
        """Bytes that found a bug find it no more; each stands in ``kept`` under its target."""
        for path in sorted(KEPT.glob("*/*")):
            TARGETS[path.parent.name].run(path.read_bytes())
