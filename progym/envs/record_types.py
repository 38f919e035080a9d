"""The types that an episode's JSON must have: a file can't vouch for them, so they are checked.

Each check gives a copy with the arrays as tuples and raises TypeError, or KeyError for what is not
there; unknown keys are refused where the record is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_NUMBER = (int, float)

_EPISODE: Mapping[str, tuple[type, ...]] = {
    "env_id": (str,),
    "env_kwargs": (dict,),
    "fingerprint": (str,),
    "split": (str,),
    "example_id": (str,),
    "seed": (int, type(None)),
    "calls": (list,),
    "asks": (list,),
    "status": (str,),
    "reward": _NUMBER,
    "score": (*_NUMBER, type(None)),
    "metrics": (dict,),
    "fault": (str, type(None)),
    "seconds": _NUMBER,
    "schema": (int,),
}

_CALL: Mapping[str, tuple[type, ...]] = {
    "module": (str,),
    "occurrence": (int,),
    "prompt": (list,),
    "completion": (str,),
    "fields": (dict,),
    "error": (str, type(None)),
    "finish": (str,),
    "prompt_tokens": (int,),
    "completion_tokens": (int,),
    "prompt_ids": (list,),
    "token_ids": (list,),
    "logprobs": (list,),
    "inputs": (dict,),
    "missing": (list,),
    "progress": (*_NUMBER, type(None)),
}

_ARRAYS: Mapping[str, tuple[type, ...]] = {
    "prompt_ids": (int,),
    "token_ids": (int,),
    "logprobs": _NUMBER,
    "missing": (str,),
}

_STATUSES = ("ok", "parse_failure", "truncated", "fault")
_FINISHES = ("stop", "length")


def check_episode(values: Mapping[str, Any]) -> dict[str, Any]:
    """Check an episode's own values; its calls and asks are checked one by one."""
    checked = _checked(values, _EPISODE, "an episode")
    _check_choice("status", checked["status"], _STATUSES)
    _all_of(_NUMBER, checked["metrics"].values(), "metrics")
    return checked


def check_call(values: Mapping[str, Any]) -> dict[str, Any]:
    """Check a call's values, its messages included."""
    checked = _checked(values, _CALL, "a call")
    _check_choice("finish", checked["finish"], _FINISHES)
    _all_of((str,), checked["fields"].values(), "fields")
    for message in checked["prompt"]:
        if not isinstance(message, dict) or set(message) != {"role", "content"}:  # pyright: ignore[reportUnknownArgumentType]
            raise TypeError(f"a message holds role and content, found {message!r:.60}")
        _all_of((str,), message.values(), "prompt")  # pyright: ignore[reportUnknownArgumentType]
    for name, kinds in _ARRAYS.items():
        checked[name] = _all_of(kinds, checked[name], name)
    checked["inputs"] = {name: _input(name, value) for name, value in checked["inputs"].items()}
    return checked


def check_ask(values: Mapping[str, Any]) -> dict[str, Any]:
    """Check a request's values; its answer may be any JSON."""
    return _checked(values, {"service": (str,), "request": (dict,), "answer": (object,)}, "an ask")


def _input(name: str, value: object) -> str | tuple[Any, ...]:
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        raise TypeError(f"{name!r} is neither a text nor an array of texts: {value!r:.40}")
    return _all_of((str,), value, name)  # pyright: ignore[reportUnknownArgumentType]


def _checked(
    values: Mapping[str, Any], layout: Mapping[str, tuple[type, ...]], what: str
) -> dict[str, Any]:
    unknown = [name for name in values if name not in layout]
    if unknown:
        raise TypeError(f"{what} has no {', '.join(map(repr, unknown))}")
    for name, kinds in layout.items():
        if name not in values:
            raise TypeError(f"{what} needs {name!r}")
        if object not in kinds:
            _all_of(kinds, (values[name],), name)
    return dict(values)


def _check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise TypeError(f"{name!r} is {value!r:.40}, not one of {', '.join(allowed)}")


def _all_of(kinds: tuple[type, ...], values: Iterable[Any], name: str) -> tuple[Any, ...]:
    items = tuple(values)
    for item in items:
        if isinstance(item, bool) or not isinstance(item, kinds):
            raise TypeError(f"{name!r} is of the wrong type: {item!r:.40}")
    return items
