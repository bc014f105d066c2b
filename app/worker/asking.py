"""How workers are asked, by each other and by commands: with the token, and trusting what they show."""

import contextlib
import ssl

import aiohttp

from app.settings import Settings


def session(settings: Settings, seconds: float, *, with_token: bool = True) -> aiohttp.ClientSession:
    """A session that asks workers. An answer may take so many seconds.

    Where workers speak TLS (`web_cert_file`), what the system trusts is trusted, and what is in the file of ours: all
    workers of a fleet may show one certificate, or some by one CA whose own certificate ends the chain.
    """
    token = settings.http_token if with_token else None
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=_trust(settings)),
        timeout=aiohttp.ClientTimeout(total=seconds),
        headers={"Authorization": f"Bearer {token}"} if token else {},
    )


def _trust(settings: Settings) -> ssl.SSLContext | bool:
    if settings.web_cert_file is None:
        return True
    context = ssl.create_default_context()
    with contextlib.suppress(OSError):  # a file that is gone is said by who shows it
        context.load_verify_locations(settings.web_cert_file)
    return context
