"""mmGRPO: groups of calls instead of groups of answers, trained through TRL's GRPOTrainer."""
