"""The tiny LM that progym ships: its tokenizer, the text it was trained on, and the recipe.

`python -m progym.agents.tiny.train` (or `make tiny`) makes the weights again.
"""
