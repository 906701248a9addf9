"""Thousands of requests that no honest client sends, and what must hold of the API while and after it gets them."""
