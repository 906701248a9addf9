"""How the API is served, whoever starts it. Names its parts only: nothing in this package may import them."""

# Without WebSockets, of which we have none: their handshakes would be refused, and logged, in words not ours.
SERVER = ("uvicorn", "--factory", "api.app:create_app", "--http", "api.bounded_http:BoundedHttp", "--ws", "none")
"""The module to run and its first arguments; where to listen comes after them."""
