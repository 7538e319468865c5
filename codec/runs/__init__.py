"""Runs over many files: which ones, where outputs go, and how each appears whole. FILES.md has the rules for users."""
