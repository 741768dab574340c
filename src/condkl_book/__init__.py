"""What chapters and site share: checks, one look for all figures, captions, and the tables of the explorers."""
