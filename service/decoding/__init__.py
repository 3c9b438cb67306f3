"""Uploads are decoded in processes of their own, which may do nothing else and may die."""
