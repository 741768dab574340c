"""What builds the book: used by dodo.py and the Makefile."""
