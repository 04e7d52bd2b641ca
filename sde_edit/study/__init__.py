"""A study with people: the plan, the trials, the answers and their statistics."""
