"""How users of the private-requests world put things: patterns by split, none in two splits.

`ask`, `sign`, `signed` and `manner` are sentences; the others are clauses, which get joined. Words
that name a kind of text (letter, plan, ...) stand in `ask` slots only, so that a query names one.
"""

from __future__ import annotations

from collections.abc import Mapping

_PRETRAIN = {
    "ask": """
        Could you write {kind} about {topic} for me? | I need {kind} about {topic}. |
        Please help me with {kind} about {topic}. | I would like {kind} about {topic}. |
        Write {kind} about {topic}, please. | Can I get {kind} about {topic}? |
        My task today is {kind} about {topic}. | Would you make {kind} about {topic}? |
        I am looking for {kind} about {topic}. | It is about {topic}: please write {kind}.""",
    "name": """
        my name is {name} | I am {name} | people call me {name} | I go by {name} |
        this is {name}""",
    "town": """
        I live in {town} | my home is in {town} | I am from {town} | I moved to {town} |
        my house is in {town}""",
    "employer": """
        I work at {employer} | my employer is {employer} | I have a job at {employer} |
        I work for {employer} | I am paid by {employer}""",
    "phone": """
        my phone is {phone} | you can call me on {phone} | my phone number is {phone} |
        I can be called on {phone} | my new number is {phone}""",
    "mail": """
        my mail is {mail} | I read mail at {mail} | you can mail me at {mail} |
        my mail address is {mail} | I use the address {mail}""",
    "account": """
        my account is {account} | my bank account is {account} | I pay from account {account} |
        my account number is {account} | I save in account {account}""",
    "birth": """
        I was born on {birth} | my birth date is {birth} | my date of birth is {birth} |
        I was born at noon on {birth} | my day of birth was {birth}""",
    "person": """
        my boss is {person} | my sister is {person} | my friend {person} helps me |
        I am married to {person} | my best friend is {person}""",
    "sign": """
        Please sign it with my name. | It should end with my name. | Put my name at the end. |
        My name should stand below it. | Do not forget to sign it for me.""",
    "signed": """
        Sign it {name}. | Please sign it as {name}. | It should be signed by {name}. |
        At the end put my name, {name}. | It comes from me, {name}.""",
    "manner": """
        It should be short and friendly. | I need it by Friday. | Keep it simple. |
        It must be polite. | Please be quick. | A few lines are enough. | Make it warm and clear. |
        Nobody has helped me yet.""",
}

_TRAIN = {
    "ask": """
        Could you prepare {kind} about {topic} for me? | Please draft {kind} about {topic}. |
        I have to write {kind} about {topic} and need help. |
        Can you give me {kind} about {topic}? | I am working on {kind} about {topic}. |
        About {topic}: could you write {kind}?""",
    "name": "I am called {name} | my first name is {name} | everyone knows me as {name}",
    "town": "I come from {town} | I have a flat in {town} | I stay in {town}",
    "employer": "I started at {employer} | my office is at {employer} | I am with {employer}",
    "phone": "my number is {phone} | I answer on {phone} | my mobile is {phone}",
    "mail": "my address is {mail} | mail reaches me at {mail} | I get mail at {mail}",
    "account": """
        I have the account {account} | my customer number is {account} |
        my money is in account {account}""",
    "birth": """
        my life began on {birth} | the day of my birth is {birth} |
        I was born at home on {birth}""",
    "person": "my brother is {person} | my doctor is {person} | my uncle is {person}",
    "sign": "Close it with my name. | I want my name under it. | Please add my name at the end.",
    "signed": """
        Sign with my name, {name}. | The end should read {name}. | My name below it is {name}.""",
    "manner": """
        Keep it short. | I need it tonight. | It should sound calm. |
        Two or three lines will do. | Please make it clear.""",
}

_VAL = {
    "ask": """
        Help me write {kind} about {topic}. | I hope you can write {kind} about {topic} today. |
        The topic is {topic} and I need {kind} on it. | I was asked for {kind} about {topic}. |
        Show me {kind} about {topic} that I can use. | Let us make {kind} about {topic}.""",
    "name": "they call me {name} | you may call me {name} | my own name is {name}",
    "town": "I grew up in {town} | I rent a room in {town} | my town is {town}",
    "employer": "I joined {employer} | my job is at {employer} | I was hired by {employer}",
    "phone": """
        the phone at home is {phone} | you reach me on {phone} | I have the number {phone}""",
    "mail": "I can be mailed at {mail} | my inbox is {mail} | all my mail goes to {mail}",
    "account": """
        my savings account is {account} | I opened account {account} |
        I am customer {account}""",
    "birth": """
        my passport says I was born on {birth} | my mother had me on {birth} |
        my birth was on {birth}""",
    "person": "my cousin is {person} | my teacher is {person} | I share a flat with {person}",
    "sign": "Let it end with my name. | My name goes at the bottom. | Write my name below.",
    "signed": "Close it as {name}. | I sign as {name}. | Use my name {name} at the end.",
    "manner": """
        I need it on Monday. | It should be warm. | Do not make it long. |
        Simple words are best.""",
}

_TEST = {
    "ask": """
        Would you kindly write {kind} about {topic}? | My next task is {kind} about {topic}. |
        I must hand in {kind} about {topic} soon. | Please come up with {kind} about {topic}. |
        Do you have {kind} about {topic} for me? | I cannot write {kind} about {topic} alone.""",
    "name": "the name is {name} | friends call me {name} | I am known as {name}",
    "town": "my family lives in {town} | I settled in {town} | my flat is in {town}",
    "employer": """
        I earn my living at {employer} | I am employed by {employer} | my desk is at {employer}""",
    "phone": "my home phone is {phone} | I pick up on {phone} | people reach me on {phone}",
    "mail": """
        I check {mail} every day | my work address is {mail} | I answer mail at {mail}""",
    "account": """
        the account is {account} | my card belongs to account {account} |
        they charge account {account}""",
    "birth": """
        my birthday is {birth} | my birth certificate says {birth} |
        they have {birth} as my birth date""",
    "person": "my partner is {person} | my aunt is {person} | I often talk to {person}",
    "sign": """
        Finish it with my name. | The last word should be my name. | Leave my name at the end.""",
    "signed": """
        Let the last word be {name}. | I am {name}, so sign it that way. | Under it goes {name}.""",
    "manner": """
        I have to send it tomorrow. | Make it sound kind. | Please keep it brief. |
        It can be plain.""",
}


def _read(groups: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {
        group: tuple(" ".join(pattern.split()) for pattern in text.split("|"))
        for group, text in groups.items()
    }


PATTERNS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "train": _read(_TRAIN),
    "val": _read(_VAL),
    "test": _read(_TEST),
    "pretrain": _read(_PRETRAIN),
}
"""Patterns by split and by what they tell; every slot but `kind` and `topic` holds a PII unit."""

DETAILS = ("town", "employer", "phone", "mail", "account", "birth", "person")
"""What a user may tell besides the name; each is a group of clauses with a slot of that name."""
