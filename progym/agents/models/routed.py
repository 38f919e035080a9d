"""Several language models behind one: a program may have modules that another model answers."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from progym.agents.model import GenerationRequest, LanguageModel, Sampling, StandingModel
from progym.envs.errors import PromptTooLong
from progym.envs.records import Completion


class RoutedModel:
    """Has the calls of some modules answered by models of their own, all others by `main`.

    Args:
        main: Answers the modules that `others` does not name.
        others: By module.
    """

    def __init__(self, main: LanguageModel, others: Mapping[str, LanguageModel]) -> None:
        self._main, self._others = main, others
        also = sorted({model.name for model in others.values()})
        self.name = " + ".join([main.name, *also])

    @contextmanager
    def standing(self) -> Generator[None]:
        """Promise that no weight of any of the models changes until this ends."""
        with ExitStack() as stack:
            for model in (self._main, *self._others.values()):
                if isinstance(model, StandingModel):
                    stack.enter_context(model.standing())
            yield

    def generate(
        self, requests: Sequence[GenerationRequest], sampling: Sampling
    ) -> list[Completion]:
        """Complete every request; raises PromptTooLong for those of all models together."""
        places: dict[int, list[int]] = {}
        models: dict[int, LanguageModel] = {}
        for place, request in enumerate(requests):
            model = self._others.get(request.module, self._main)
            models[id(model)] = model
            places.setdefault(id(model), []).append(place)
        found: dict[int, Completion] = {}
        too_long: list[int] = []
        reason = ""
        for key, chosen in places.items():
            try:
                answers = models[key].generate([requests[place] for place in chosen], sampling)
            except PromptTooLong as error:
                reason = reason or str(error)
                too_long += [chosen[position] for position in error.positions]
                continue
            found |= zip(chosen, answers, strict=True)
        if too_long:
            raise PromptTooLong(reason, sorted(too_long))
        return [found[place] for place in range(len(requests))]
