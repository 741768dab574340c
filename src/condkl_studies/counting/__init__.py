"""Counting objects, the case of the post's author: v is n, how many objects an image has, u what and where each is."""
