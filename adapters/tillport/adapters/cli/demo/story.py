"""The account that the demo gives: what was sent, what came back, what was proved, how long it took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import attrs

from tillport.adapters.cli.terminal import paint, say


class StepFailed(Exception):
    """Something did not happen as it should. Says at which step, what was expected and what was seen."""

    def __init__(self, expected: str, seen: str) -> None:
        super().__init__(f"{expected}; seen: {seen}")
        self.expected = expected
        self.seen = seen
        self.step = ""


@attrs.define
class Story:
    """Tell the steps one after the other, and count what was proved."""

    steps: int = 0
    proofs: int = 0

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Tell one step; a `StepFailed` within it learns the step's title."""
        self.steps += 1
        say(f"\n{paint(f'{self.steps:2d}', 'cyan', 'bold')}  {paint(title, 'bold')}")
        began = time.perf_counter()
        try:
            yield
        except StepFailed as failure:
            failure.step = failure.step or f"step {self.steps}, {title!r}"
            raise
        say(paint(f"      {(time.perf_counter() - began) * 1000:.0f} ms", "dim"))

    def sent(self, text: str) -> None:
        """Tell what was sent."""
        say(f"    {paint('→', 'cyan')} {text}")

    def came(self, text: str) -> None:
        """Tell what came back."""
        say(f"    {paint('←', 'yellow')} {text}")

    def shows(self, text: str) -> None:
        """Show something, line by line."""
        for line in text.splitlines():
            say(paint(f"      {line}", "dim"))

    def proved(self, claim: str, *, holds: bool, seen: object) -> None:
        """Tell a claim that independent evidence bears out; raise `StepFailed` with what was seen if it does not."""
        if not holds:
            say(f"    {paint('✗', 'red')} {claim}")
            raise StepFailed(claim, str(seen))
        self.proofs += 1
        say(f"    {paint('✓', 'green')} {claim}")
