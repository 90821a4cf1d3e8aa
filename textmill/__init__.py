"""Textmill: from a list of web sites to a served GPT-2 that writes in their voice."""

__version__ = "0.1.0"
