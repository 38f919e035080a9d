"""The calls of one mmGRPO step of PAPILLON-v0, to be put before both sides of a bench.

What the modules are given is what runs of the tiny LM gave them, in each group only runs whose
requests differ: equal prompts cost us nothing, and a larger model repeats itself less.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import takewhile

from progym.agents.model import Sampling
from progym.agents.models import load_model
from progym.agents.rollouts import requests_for, roll_out
from progym.envs.env import ProgramEnv
from progym.envs.module import Module
from progym.envs.prompts import Demo, ModulePrompt, PromptSet
from progym.envs.records import CallRecord, Episode
from progym.envs.rendering import Call, Message, render
from progym.envs.tasks.papillon import PROGRAM, make_env

EXAMPLES, RUNS, NEW_TOKENS = 4, 12, 64
_DRAWS, _HEAT = 80, 1.4  # runs of each example, of which those that differ are taken
RULES = (
    "Read all of the query before you write the first word.",
    "Keep the kind of text and the topic that the user asks for.",
    "A name, a town, an employer, a number or a date of birth is private.",
    "What is private stays with you, even where the user tells it twice.",
    "Write in full sentences, and keep each of them short.",
    "Say what is needed once, and do not add points of your own.",
    "Where the query is rude or in a hurry, be polite and calm.",
    "If two wishes can not both be met, follow the one that comes last.",
    "Do not explain what you do, and do not speak of these rules.",
    "Leave the order of the points as it is.",
    "Use plain words that a friend of the user would use.",
    "Before you end, check that each part of the form is there.",
    "A short answer that keeps to these rules is better than a long one that does not.",
    "If you are not sure whether a detail is private, leave it out.",
    "Where a detail is needed to answer well and is private, speak of it in general.",
    "Keep to the order of the form, and write nothing before or after it.",
    "What a demo shows is how to answer, not what: never repeat its names or its topic.",
)
"""What prompt search may have added to an instruction."""


@dataclass(frozen=True)
class Scenario:
    """What the prompts carry, and how many runs there are of each example."""

    name: str
    rules: int = 0
    demos: int = 0
    runs: int = RUNS


PLAIN = Scenario("plain prompts")
COMPOSED = Scenario("prompts with instruction and four demos", rules=len(RULES), demos=4)

Prompts = dict[str, list[tuple[Message, ...]]]
"""The prompts of a step by module, those of one example side by side."""


def make_prompts(scenario: Scenario) -> Prompts:
    """Render the calls of a step."""
    prompt_set = _prompt_set(scenario)
    made: Prompts = {}
    for module in PROGRAM.modules:
        calls = [_call_of(module, episode) for episode in _runs(scenario.runs)]
        made[module.name] = [render(Call(module, 0, call.inputs), prompt_set) for call in calls]
    return made


def share_of_head(prompts: Sequence[Sequence[int]]) -> float:
    """Give the share of tokens that stand in the beginning that all prompts have in common."""
    columns = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*prompts, strict=False))
    return len(prompts) * sum(1 for _ in columns) / sum(map(len, prompts))


@cache
def _runs(count: int) -> list[Episode]:
    """For each example, the first runs whose requests all differ."""
    ids = _env().examples.ids[:EXAMPLES]
    played = roll_out(
        lambda: make_env(split="train"),
        load_model("tiny"),
        PromptSet(),
        requests_for(ids, repeats=_DRAWS, seed=0),
        sampling=Sampling(_HEAT, NEW_TOKENS),
    )
    chosen: dict[str, dict[object, Episode]] = {example_id: {} for example_id in ids}
    for episode in played:
        if len(episode.calls) == len(PROGRAM.modules):
            request = episode.calls[-1].inputs["related_llm_request"]
            chosen[episode.example_id].setdefault(request, episode)
    assert all(len(runs) >= count for runs in chosen.values())
    return [episode for runs in chosen.values() for episode in list(runs.values())[:count]]


def _prompt_set(scenario: Scenario) -> PromptSet:
    """Give both modules the same rules, and demos from the gold runs of other examples."""
    rules = [RULES[number % len(RULES)] for number in range(scenario.rules)]
    gold = [_gold_run(EXAMPLES + number) for number in range(scenario.demos)]
    prompts: dict[str, ModulePrompt] = {}
    for module in PROGRAM.modules:
        calls = [_call_of(module, episode) for episode in gold]
        demos = tuple(Demo(call.inputs, call.fields) for call in calls)
        prompts[module.name] = ModulePrompt(" ".join([module.instruction, *rules]), demos)
    return PromptSet(prompts)


def _gold_run(number: int) -> Episode:
    env = _env()
    return roll_out(
        lambda: env,
        load_model("gold"),
        PromptSet(),
        requests_for([env.examples.ids[number]], repeats=1, seed=0),
        sampling=Sampling(),
    )[0]


def _call_of(module: Module, episode: Episode) -> CallRecord:
    return next(call for call in episode.calls if call.module == module.name)


@cache
def _env() -> ProgramEnv:
    return make_env(split="train")
