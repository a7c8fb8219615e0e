"""What stands between decoding and writing: redaction of values, and budgets of series. Columns in, columns out."""
