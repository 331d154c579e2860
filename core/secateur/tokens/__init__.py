"""Tokens of the HTTP API: their text, and the records of them in the database."""
