"""What an API key looks like: ``vq_<id>_<secret>``. Knows nothing of where keys are kept or how they are sent."""

import hashlib
import hmac
import re
import secrets
import string
from dataclasses import dataclass, field
from typing import Self

_LETTERS = string.ascii_letters + string.digits  # nothing that a shell, an address or a double click would cut
_ID_CHARS = 12
_SECRET_CHARS = 32  # 190 bits
_KEY = re.compile(rf"vq_([{_LETTERS}]{{{_ID_CHARS}}})_([{_LETTERS}]{{{_SECRET_CHARS}}})")


@dataclass(frozen=True, slots=True)
class Key:
    """A key in full. Its secret shows neither in logs nor in tracebacks; `str` gives what the caller sends."""

    id: str
    secret: str = field(repr=False)

    @classmethod
    def new(cls) -> Self:
        return cls(_random(_ID_CHARS), _random(_SECRET_CHARS))

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """The key that a caller has sent; None if it cannot be one."""
        found = _KEY.fullmatch(text)
        return None if found is None else cls(found[1], found[2])

    def __str__(self) -> str:
        return f"vq_{self.id}_{self.secret}"

    @property
    def secret_hash(self) -> str:
        """What is stored of the secret, in hexadecimal.

        One round of SHA-256 suffices, and costs a request nothing: slow hashes protect secrets that can be guessed,
        and nobody can go through 2^190 of them.
        """
        return hashlib.sha256(self.secret.encode()).hexdigest()

    def matches(self, secret_hash: str) -> bool:
        """Whether the stored hash is of this secret. Takes the same time wherever they differ."""
        return hmac.compare_digest(self.secret_hash, secret_hash)


def _random(chars: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(chars))
