"""Alert rules: one model, their SQL beside it, and what becomes of an answer over time."""
