"""The thread-safe facade of all runs in this process: plan, price, budget, submit, list."""
