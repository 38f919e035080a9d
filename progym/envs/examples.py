"""A split of a task: examples by position and by id, made when they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import overload

from progym.envs.errors import BadData, BadValue
from progym.envs.program import Example


class Examples(Sequence[Example]):
    """Examples whose ids are known at once and whose content is made lazily and kept."""

    def __init__(self, ids: Sequence[str], make: Callable[[int], Example]) -> None:
        if not ids:
            raise BadData("A split needs at least one example; this one is empty.")
        self._positions = {name: position for position, name in enumerate(ids)}
        if len(self._positions) != len(ids):
            twice = next(name for i, name in enumerate(ids) if self._positions[name] != i)
            raise BadData(f"Example id {twice!r} stands twice in this split.")
        self.ids = tuple(ids)
        self._make = make
        self._made: dict[int, Example] = {}

    @staticmethod
    def of(examples: Sequence[Example]) -> Examples:
        """Wrap examples that exist already."""
        return Examples([example.id for example in examples], examples.__getitem__)

    def by_id(self, example_id: str) -> Example:
        """Find an example; raises BadValue with the range of ids that exist."""
        position = self._positions.get(example_id)
        if position is None:
            raise BadValue(
                f"Unknown example {example_id!r}. This split has {len(self)} examples, "
                f"{self.ids[0]!r} to {self.ids[-1]!r}."
            )
        return self[position]

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | Sequence[Example]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        position = range(len(self))[index]
        example = self._made.get(position)
        if example is None:
            example = self._made[position] = self._make(position)
        return example
