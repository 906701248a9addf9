"""Puts ids into paths."""

from voxqueue.client.errors import ClientError


def path_of(collection: str, item_id: str, thing: str) -> str:
    """The path of one thing. Raises `ClientError` for what cannot be an id: it would lead to another address."""
    if not item_id.isascii() or not item_id.replace("-", "").replace("_", "").isalnum():
        raise ClientError(f"{item_id!r} is no {thing} id.")
    return f"{collection}/{item_id}"
