"""Find workers behind one DNS name, such as a Kubernetes headless Service.

`dns:http://worker:8100` in `serve.worker_urls` means every address that the name resolves to now, as for a compose
service with several replicas.
"""

import asyncio
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

PREFIX = "dns:"


def names(urls: Sequence[str]) -> list[str]:
    """The `dns:` URLs, each for several workers, without their prefix."""
    return [url.removeprefix(PREFIX) for url in urls if url.startswith(PREFIX)]


def fixed(urls: Sequence[str]) -> list[str]:
    """The URLs that name one worker each."""
    return [url for url in urls if not url.startswith(PREFIX)]


async def look_up(url: str) -> set[str] | None:
    """One URL for each address of the name in `url`; None if the resolver does not answer.

    An unknown name has no addresses, as a headless Service without pods.
    """
    parts = urlsplit(url)
    port = parts.port or 80
    try:
        found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return set() if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None)) else None
    hosts = {str(address[0]) for *_, address in found}
    return {f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}" for host in hosts}
