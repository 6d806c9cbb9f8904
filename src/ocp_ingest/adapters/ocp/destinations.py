"""Where a download may be sent on to: only where the configuration allows, and only with our leave.

The API's own origin      allowed, with our token
A host in redirect_hosts  allowed, without it; a public address, unless `allow_private`
anything else             refused, by a person's decision only

Plain http is refused unless the API itself is spoken to in plain http (a simulator). The address
is checked when the connection is made, in the resolver, so that a name can't change in between.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from ocp_ingest.adapters.ocp.failed import Failed
from ocp_ingest.adapters.ocp.http import PrivateAddressError
from ocp_ingest.adapters.ocp.settings import OcpSettings
from ocp_ingest.core.export_job import Refused

# These carry an IPv4 address inside and are routed to it.
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class Destinations:
    """Judges the targets of redirects."""

    def __init__(self, settings: OcpSettings, api: URL) -> None:
        self._api = api.origin()
        self._hosts = tuple(host.lower() for host in settings.redirect_hosts)
        self._allow_private = settings.allow_private

    def is_api(self, url: URL) -> bool:
        """Whether our token may go there."""
        return url.origin() == self._api

    def target(self, source: URL, location: str | None) -> URL:
        """Where a redirect leads. Raises Failed(Refused) when we don't go there."""
        try:
            url = source.join(URL(location or "", encoded=True)).with_fragment(None)
            host, port = (url.host or "").lower(), url.port
        except ValueError:
            host, url, port = "", source, None
        if not location or not host or url.scheme not in ("https", "http"):
            raise _refused("OCP redirects a download to no usable URL.")
        if url.user is not None or url.password is not None:
            raise _refused(f"OCP redirects a download to {host} with a user in the URL.")
        if self.is_api(url):
            return url
        if url.scheme == "http" and self._api.scheme == "https":
            raise _refused(f"OCP redirects a download to {host} in plain http.")
        if not any(_fits(allowed, host, port, url) for allowed in self._hosts):
            raise _refused(
                f"OCP redirects a download to {host}:{port}, which is not in "
                "`ocp.redirect_hosts`: add it if it is OCP's storage."
            )
        if not self._allow_private and is_private(host):
            raise _refused(f"OCP redirects a download to the private address {host}.")
        return url


def _fits(allowed: str, host: str, port: int | None, url: URL) -> bool:
    name, colon, number = allowed.rpartition(":")
    if colon and number.isdigit() and not allowed.endswith("]"):
        if str(port) != number:
            return False
    else:
        name = allowed
        if not url.is_default_port():
            return False
    name = name.strip("[]")
    return host.endswith(name[1:]) if name.startswith("*.") else host == name


def is_private(host: str) -> bool:
    """Whether a literal address is not a public one; False for names, which a resolver checks."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped
        if inner is not None:
            return is_private(str(inner))
        if address in _NAT64 or address.sixtofour is not None or address.teredo is not None:
            return True
    return not address.is_global or address.is_multicast


class PublicResolver(AbstractResolver):
    """Resolves names to public addresses only."""

    def __init__(self, inner: AbstractResolver | None = None) -> None:
        self._inner = inner or aiohttp.DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises PrivateAddressError if one of them is private."""
        found = await self._inner.resolve(host, port, family)
        if any(is_private(one["host"]) for one in found):
            raise PrivateAddressError("a private address")
        return found

    async def close(self) -> None:
        """Closes the resolver underneath."""
        await self._inner.close()


def _refused(text: str) -> Failed:
    return Failed(Refused(302, text))
