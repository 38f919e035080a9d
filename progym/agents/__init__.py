"""Whatever chooses the text of a call, and learns: models, rollouts, mmGRPO, prompt search."""
