"""The vendor that requests are sent on to: its address, its key, its connections."""

import argparse
import logging
import os
import re

import aiohttp
from aiohttp.http import HttpProcessingError
from yarl import URL

log = logging.getLogger("quota")
SILENCE_S = 600  # the longest
EVENT_MAX = 4 << 20
UPSTREAM_NOT_REACHED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
UPSTREAM_FAILED = (aiohttp.ClientError, HttpProcessingError)


def upstream_url(text):
    """A flag's type."""
    if re.fullmatch(r"https?://([\w.-]+|\[[\da-f:]+\])(:\d+)?(/[^?#\s]*)?", text, re.ASCII):
        return URL(text)
    raise argparse.ArgumentTypeError("http[s]://HOST[:PORT][/PREFIX] is accepted")


class Upstream:
    """Made in a running event loop. `post` raises UPSTREAM_NOT_REACHED, else UPSTREAM_FAILED."""

    def __init__(self, url):
        self.url, self.prefix = url, url.raw_path.rstrip("/")
        key = os.environ.get("UPSTREAM_API_KEY", "")
        self.session = aiohttp.ClientSession(
            # A connection each: a POST that meets one which the vendor is just closing would fail.
            connector=aiohttp.TCPConnector(limit=0, force_close=True),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=SILENCE_S, sock_read=SILENCE_S),
            headers={"authorization": "Bearer " + key, "x-api-key": key, "anthropic-version": "2023-06-01"},
        )

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.session.close()

    async def post(self, url, body):
        """To the path and the query of `url`. Never by joining texts: no request line chooses the host."""
        to = self.url.with_path(self.prefix + url.raw_path, encoded=True).with_query(url.query_string)
        return await self.session.post(to, json=body, allow_redirects=False)


async def lines_of(response):
    """As they come; also those of an answer that is broken off."""
    try:
        while line := await response.content.readline(max_line_length=EVENT_MAX):
            yield line
    except UPSTREAM_FAILED as error:
        log.warning("the upstream broke off: %r", error)
