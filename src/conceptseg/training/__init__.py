"""Losses, rewards, CTM warm-up, Meta-GRPO, and the recipe of the bundled checkpoint."""
