"""Definitions in, files and pages out: queries and the viewer."""
