"""Which hosts are this machine alone."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Names other than localhost are not looked up: a name that is the machine's own may be seen from elsewhere."""
    try:
        return host.lower() == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
