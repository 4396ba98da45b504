"""A channel's row <-> the Channel that sends: which kinds exist, what their configuration must say, what of it is shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from foreshock_server import models
from foreshock_server.errors import Invalid
from foreshock_server.notify.apprise import Apprise, checked_address, masked_address
from foreshock_server.notify.channel import Channel, NotDelivered
from foreshock_server.notify.discord import Discord
from foreshock_server.notify.discretion import Discreet
from foreshock_server.notify.mail import Mail, checked_password, route_of
from foreshock_server.notify.ntfy import Ntfy, checked_token, checked_topic
from foreshock_server.notify.pagerduty import URL as PAGERDUTY
from foreshock_server.notify.pagerduty import PagerDuty, checked_key
from foreshock_server.notify.reach import EVERYWHERE, Way, check_host
from foreshock_server.notify.slack import Slack
from foreshock_server.notify.slack_bot import SlackBot, checked_bot, is_api
from foreshock_server.notify.teams import Teams
from foreshock_server.notify.webhook import Webhook, key_of, new_secret
from foreshock_server.settings import Settings
from foreshock_server.store.channels import FROM_SETTINGS

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Kind:
    """One way to people: how its rows are opened, what they must hold, and what of that a reader may see."""

    open: Callable[[Config, Way], Channel]
    check: Callable[
        [str, str | None], dict[str, Any]
    ]  # url, secret -> what is stored; Invalid says what to write
    mask: Callable[[str], str]
    url: str | None = None  # when none is given


def checked_url(url: str) -> str:
    """The URL, if it is one that a message can be posted to."""
    try:
        parsed = parse_url(url)
        port_is_one = urlsplit(url).port != 0  # raises for one that is no port
        (parsed.host or "").encode("idna")  # raises for one that no name server can be asked for
    except (LocationParseError, ValueError):
        parsed, port_is_one = None, False
    if parsed is None or parsed.scheme not in ("http", "https") or not parsed.host or not port_is_one:
        raise Invalid(
            "The url must be an http:// or https:// address with a host, such as https://hooks.slack.com/services/…",
            field="url",
        )
    if parsed.auth:
        raise Invalid(
            "Leave user and password out of the url; messages are signed instead (header webhook-signature).",
            field="url",
        )
    return url


def masked_url(url: str) -> str:
    """Enough to recognise an address, too little to use it: its path is a secret at Slack and elsewhere."""
    parsed = urlsplit(url)
    rest = url.split(parsed.netloc, 1)[1].strip("/")
    return f"{parsed.scheme}://{parsed.netloc}/…{rest[-4:] if len(rest) > 8 else ''}"


def _without_secret(kind: str) -> Callable[[str, str | None], dict[str, Any]]:
    def check(url: str, secret: str | None) -> dict[str, Any]:
        if secret is not None:
            article = "An" if kind[0] in "aeiou" else "A"
            raise Invalid(
                f"{article} {kind} channel has no secret of its own: its url is the secret.", field="secret"
            )
        return {"url": checked_address(url) if kind == "apprise" else checked_url(url)}

    return check


def _webhook(url: str, secret: str | None) -> dict[str, Any]:
    if secret is not None:
        key_of(secret)
    return {"url": checked_url(url), "secret": secret or new_secret()}


def _slack(url: str, secret: str | None) -> dict[str, Any]:
    """An incoming webhook, whose url is all; or a bot, whose token is the secret."""
    config: dict[str, Any] = {"url": checked_url(url)}
    return config if secret is None and not is_api(url) else {**config, "secret": checked_bot(url, secret)}


def _open_slack(config: Config, way: Way) -> Channel:
    token = config.get("secret")
    return Slack(config["url"], way) if token is None else SlackBot(config["url"], token, way)


def _pagerduty(url: str, secret: str | None) -> dict[str, Any]:
    return {"url": checked_url(url), "secret": checked_key(secret)}


def _ntfy(url: str, secret: str | None) -> dict[str, Any]:
    return _with({"url": checked_topic(checked_url(url))}, checked_token(secret))


def _mail(url: str, secret: str | None) -> dict[str, Any]:
    route_of(url)
    return _with({"url": url}, checked_password(url, secret))


def _with(config: dict[str, Any], secret: str | None) -> dict[str, Any]:
    return config if secret is None else {**config, "secret": secret}


KINDS = {
    "slack": Kind(_open_slack, _slack, masked_url),
    "webhook": Kind(lambda it, way: Webhook(it["url"], it["secret"], way), _webhook, masked_url),
    "discord": Kind(lambda it, way: Discord(it["url"], way), _without_secret("discord"), masked_url),
    "teams": Kind(lambda it, way: Teams(it["url"], way), _without_secret("teams"), masked_url),
    "email": Kind(lambda it, way: Mail(it["url"], it.get("secret"), way), _mail, str),
    "pagerduty": Kind(lambda it, way: PagerDuty(it["url"], it["secret"], way), _pagerduty, str, PAGERDUTY),
    "ntfy": Kind(lambda it, way: Ntfy(it["url"], it.get("secret"), way), _ntfy, masked_url),
    "apprise": Kind(lambda it, way: Apprise(it["url"], way), _without_secret("apprise"), masked_address),
}


def open_channel(row: models.Channel, way: Way) -> Channel:
    """The channel that this row describes. What it says is told without its secrets, whatever the receiver repeats."""
    kind = KINDS.get(row.kind)
    if kind is None:
        raise NotDelivered(f"this server knows no channel kind {row.kind!r}", permanent=True)
    return Discreet(kind.open(row.config, way), row.config)


def way_of(row: models.Channel, settings: Settings, **limits: float) -> Way:
    """How far this channel may reach: who set the server's settings may name any address, who asks over HTTP those allowed."""
    return Way(private=EVERYWHERE if row.origin == FROM_SETTINGS else settings.private_networks, **limits)


def checked_config(kind: str, url: str | None, secret: str | None) -> dict[str, Any]:
    """The configuration to store; Invalid says what to write instead."""
    if kind not in KINDS:
        raise Invalid(f"There is no channel kind {kind!r}; write one of: {', '.join(KINDS)}.", field="kind")
    url = url or KINDS[kind].url
    if url is None:
        raise Invalid(f"Say where the {kind} channel is: `url` is missing.", field="url")
    return KINDS[kind].check(url, secret)


def check_reach(config: Config, settings: Settings) -> None:
    """Invalid when the address can be seen to lie where channels may not reach; names are resolved when something is sent."""
    host = urlsplit(config["url"]).hostname
    try:
        check_host(host or "", settings.private_networks)
    except NotDelivered as problem:
        raise Invalid(f"{str(problem)[0].upper()}{str(problem)[1:]}.", field="url") from None


def shown_config(kind: str, config: Config) -> dict[str, Any]:
    """What a reader of the API may see."""
    mask = KINDS[kind].mask if kind in KINDS else masked_url
    return {"url": mask(config["url"]), "signed": kind == "webhook"}
