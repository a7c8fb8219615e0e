"""Objectives of services: OpenSLO files, what is left of their budgets, and the rules that page when one burns."""
