"""Commands of `cardline` that are long enough for a file of their own; `agent.cli` only registers them."""
