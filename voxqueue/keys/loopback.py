"""Which addresses stand for this machine alone: there, and only there, an API may do without keys."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether an address, or a name, is of this machine. Of names only ``localhost`` is known to be."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower() == "localhost"
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
