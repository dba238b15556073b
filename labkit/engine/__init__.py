"""How passes are run: checks, batches, hooks, and what makes many passes cost less."""
