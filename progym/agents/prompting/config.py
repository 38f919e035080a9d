"""Settings of the prompt search."""

from __future__ import annotations

from dataclasses import dataclass

from progym.envs.errors import BadValue


@dataclass(frozen=True)
class PoConfig:
    """What the search may spend and try."""

    rollouts: int = 600
    """The most rollouts that the whole stage may draw, bootstrapping included."""
    bootstrap_examples: int = 60
    """Train examples that are rolled out with the starting prompts to find demos."""
    candidates: int = 12
    """Prompt sets that enter the search, the starting one among them."""
    max_demos: int = 3
    """The most demos a module may get."""
    rung_examples: int = 12
    """Train examples in the first rung; each rung keeps the better half and doubles them."""
    final_examples: int = 60
    """Val examples on which the last two candidates and the starting set are compared."""
    temperature: float = 1.0
    """Of the rollouts."""
    max_completion_length: int = 64
    """Tokens of a completion."""

    def __post_init__(self) -> None:
        for name in ("bootstrap_examples", "candidates", "rung_examples", "final_examples"):
            if getattr(self, name) < 1:
                raise BadValue(f"{name} must be 1 or more, got {getattr(self, name)}.")
        if self.max_demos < 0:
            raise BadValue(f"max_demos must be 0 or more, got {self.max_demos}.")
        first_rung = self.candidates * self.rung_examples
        needed = self.bootstrap_examples + first_rung + 3 * self.final_examples
        if self.rollouts < needed:
            raise BadValue(
                f"rollouts={self.rollouts} does not cover bootstrapping, the first rung of the "
                f"search and the final comparison; these settings need {needed} or more. Raise "
                "rollouts, or lower bootstrap_examples, candidates, rung_examples or "
                "final_examples."
            )
