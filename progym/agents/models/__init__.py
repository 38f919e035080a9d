"""The language models that ship."""
