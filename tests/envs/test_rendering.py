"""The renderer: what a module's calls share comes first, and nothing of a prompt set is lost."""

from __future__ import annotations

from progym.envs.module import Field, Module
from progym.envs.prompts import Demo, ModulePrompt, PromptSet
from progym.envs.rendering import Call, render, render_inputs, render_reply

MODULE = Module(
    "append_notes",
    "Take notes.",
    (Field("claim"), Field("search_results")),
    (Field("new_notes", "what is new"), Field("verdict", choices=("yes", "no"))),
)
CALL = Call(
    MODULE, 0, {"claim": "Water is wet.", "search_results": ("Water | It is.", "Wet | So.")}
)
PROMPTS = PromptSet(
    {
        "append_notes": ModulePrompt(
            "Note what matters.",
            (Demo({"claim": "c", "search_results": ()}, {"new_notes": "n", "verdict": "no"}),),
        )
    }
)


def test_a_plain_call_is_an_instruction_with_the_form_of_the_reply_and_the_inputs():
    system, user = render(CALL)

    assert system == {
        "role": "system",
        "content": "Take notes.\n\nReply in this form:\n"
        "New notes: <what is new>\nVerdict: <one of yes, no>",
    }
    assert user["content"] == (
        "Claim: Water is wet.\nSearch results:\n[1] Water | It is.\n[2] Wet | So."
    )


def test_demos_come_as_turns_between_the_instruction_and_the_inputs():
    messages = render(CALL, PROMPTS)

    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[0]["content"].startswith("Note what matters.\n\nReply in this form:")
    assert messages[2]["content"] == "New notes: n\nVerdict: no"
    assert messages[3] == render(CALL)[1]


def test_a_prompt_set_without_the_module_leaves_its_own_instruction():
    assert render(CALL, PromptSet({"other": ModulePrompt("x")})) == render(CALL)


def test_a_set_with_the_modules_own_instruction_and_no_demos_renders_the_plain_call():
    prompts = PromptSet({"append_notes": ModulePrompt("Take notes.")})

    assert render(CALL, prompts) == render(CALL)


def test_a_reply_leaves_absent_outputs_out_and_no_items_render_as_a_bare_label():
    assert render_reply(MODULE, {"verdict": "yes"}) == "Verdict: yes"
    assert (
        render_inputs(MODULE, {"claim": "c", "search_results": ()}) == "Claim: c\nSearch results:"
    )


def test_two_modules_with_one_signature_keep_their_own_prompts():
    twin = Module("other", "Take notes.", MODULE.inputs, MODULE.outputs)

    assert render(Call(twin, 0, CALL.inputs), PROMPTS)[0]["content"].startswith("Take notes.")
