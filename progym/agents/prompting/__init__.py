"""Prompt optimization: bootstrapped demos and candidate instructions, searched under a budget."""
