"""Workers behind one name: a Kubernetes headless Service, or a compose service with several replicas.

`dns:http://worker:8100` among `serve.worker_urls` stands for every address that the name has at the moment.
"""

import asyncio
import socket
from collections.abc import Sequence
from urllib.parse import urlsplit

PREFIX = "dns:"


def names(urls: Sequence[str]) -> list[str]:
    """Those that stand for several workers, as ordinary URLs."""
    return [url.removeprefix(PREFIX) for url in urls if url.startswith(PREFIX)]


def fixed(urls: Sequence[str]) -> list[str]:
    """Those that stand for one worker each."""
    return [url for url in urls if not url.startswith(PREFIX)]


async def look_up(url: str) -> set[str] | None:
    """A URL for each address that the name in `url` has now; None where the resolver does not answer.

    A name that is unknown, as a headless Service's is while it has no pod, has no addresses.
    """
    parts = urlsplit(url)
    port = parts.port or 80
    try:
        found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return set() if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None)) else None
    hosts = {str(address[0]) for *_, address in found}
    return {f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port}" for host in hosts}
