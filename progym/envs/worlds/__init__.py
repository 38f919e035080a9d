"""The worlds that progym generates by itself, from seeds."""
