"""The socket of a server that the kubelet and other pods reach, whatever address family the cluster uses."""

from __future__ import annotations

import errno
import socket

#: What a kernel answers that has no IPv6, or has it disabled.
_NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


def listening_socket(port: int) -> socket.socket:
    """A TCP socket that listens on `port` of all addresses, IPv6 and IPv4; of IPv4 alone if the kernel has no IPv6.

    Port 0 selects a free port. Raises OSError, for example if the port is in use.
    """
    if socket.has_dualstack_ipv6():
        try:
            # One socket for both, whatever the node's net.ipv6.bindv6only is.
            return socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError as error:
            if error.errno not in _NO_IPV6:
                raise
    return socket.create_server(("", port))
