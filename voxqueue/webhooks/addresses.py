"""Which addresses may be called: one policy, for those who take an address from a caller and for those who call it.

What a URL alone tells is decided here. Where its name leads is asked by `names`, and decided at each connection, by the
same policy.
"""

import re
from functools import lru_cache
from ipaddress import ip_network
from urllib.parse import SplitResult, urlsplit

from ssrfguard import DEFAULT_DENIED, AddressTable, Block, BlockedAddressError, BlockedURLError, Policy, Reach

from voxqueue.errors import MisconfiguredError
from voxqueue.settings import WebhooksSettings

URL_CHARS = 2_000

_ADDRESSES_TRIED = 3  # of a name that has many
_WRITTEN = re.compile(r"[!-~]+")
_NUMBER_AT_THE_END = re.compile(r"(^|\.)(\d+|0x[0-9a-f]*)\.?$")  # what a resolver may read as an IPv4 address
_LOCAL_NAME = re.compile(r"[^.]+|.+\.(localhost|local|internal|home\.arpa)")
_PRIVATE = "leads to a private or reserved network, which is not called"


def _block(network: str, name: str, reach: Reach = Reach.DENIED) -> Block:
    return Block(network=ip_network(network), name=name, rfc="none", reach=reach)


# Stricter than the registries: no services that answer from the local network under a public number, and of IPv6 only
# what is given out, so that the many ways to wrap an IPv4 address are refused whether anybody has heard of them or not.
_DENIED = AddressTable(
    (
        *(block for block in DEFAULT_DENIED.blocks if block.reach is not Reach.PERMITTED),
        _block("::/0", "not given out"),
        _block("2000::/3", "global unicast", Reach.PERMITTED),
        _block("168.63.129.16/32", "the platform service of Azure"),
    )
)


class InvalidAddress(ValueError):
    """Nothing may be sent to the address. The message is what to say of it: "must begin with https://"."""


def check_url(url: str, settings: WebhooksSettings) -> None:
    """Raise `InvalidAddress` for a URL that must not be called. Asks no name server, so it is quick."""
    allowed = policy(settings)
    if (fault := _text_fault(url)) is not None:
        raise InvalidAddress(fault)
    try:
        split = urlsplit(url)
        fault = _part_fault(split, allowed) or _host_fault(split.hostname or "", allowed)
    except ValueError:
        fault = "is not a URL"
    if fault is not None:
        raise InvalidAddress(fault)
    try:
        allowed.check_url(url)
    except BlockedURLError as error:
        private = isinstance(error.__cause__, BlockedAddressError)
        raise InvalidAddress(_PRIVATE if private else "has a host that is not a valid name or address") from error


def policy(settings: WebhooksSettings) -> Policy:
    """What the settings allow, for whoever connects. Raises `MisconfiguredError`."""
    return _policy(settings.allow_networks, settings.allow_http, settings.ports)


@lru_cache(maxsize=8)
def _policy(networks: tuple[str, ...], allow_http: bool, ports: tuple[int, ...]) -> Policy:
    try:
        return Policy(
            allowed_schemes=frozenset({"https", "http"} if allow_http else {"https"}),
            denied_networks=_DENIED,
            allowed_networks=tuple(ip_network(network) for network in networks),
            allowed_ports=frozenset(ports),
            max_redirects=0,
            max_connection_attempts=_ADDRESSES_TRIED,
            max_url_length=URL_CHARS,
        )
    except ValueError as error:
        raise MisconfiguredError(f"VOXQUEUE_WEBHOOKS_ALLOW_NETWORKS or VOXQUEUE_WEBHOOKS_PORTS: {error}") from error


def _text_fault(url: str) -> str | None:
    if len(url) > URL_CHARS:
        return f"has {len(url):,} characters, more than the {URL_CHARS:,} allowed"
    # Programs differ in how they read other characters, and what is checked must be what is called.
    if not _WRITTEN.fullmatch(url) or "\\" in url:
        return "holds a character that no URL has; percent-encode it, or in a host write the name's xn-- form"
    return None


def _part_fault(split: SplitResult, allowed: Policy) -> str | None:
    if split.scheme not in allowed.allowed_schemes:
        return f"must begin with {' or '.join(f'{scheme}://' for scheme in sorted(allowed.allowed_schemes))}"
    if "@" in split.netloc:
        return "must not hold a user name or password"
    if not split.hostname or ("[" in split.netloc and ":" not in split.hostname):
        return "names no host"
    port = split.port if split.port is not None else {"https": 443, "http": 80}[split.scheme]
    if port not in allowed.allowed_ports:
        return f"has the port {port}; allowed are {', '.join(map(str, sorted(allowed.allowed_ports)))}"
    return None


def _host_fault(host: str, allowed: Policy) -> str | None:
    """What is wrong with a name. Addresses are for the policy, which knows them in their one proper spelling only."""
    try:
        allowed.permits_address(host)
    except ValueError:
        pass
    else:
        return None
    if ":" in host:
        return None
    if _NUMBER_AT_THE_END.search(host):
        return "has a host that looks like an odd spelling of an IP address; write it as four plain numbers"
    if not allowed.allowed_networks and _LOCAL_NAME.fullmatch(host.rstrip(".")):
        return "must name a public host, such as hooks.example.com"
    return None
