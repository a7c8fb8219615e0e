"""The service map: who calls whom, made from spans that are stored, minute by minute."""
