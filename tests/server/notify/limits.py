"""What the receivers publish about the messages that they take, written down from their references and not from our code."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any


def check_slack(payload: dict[str, Any]) -> None:
    """Slack's reference of blocks, composition objects, and of attachments in a message."""
    assert 0 < len(payload["text"]) <= 40_000
    groups = [payload["blocks"], *(attachment["blocks"] for attachment in payload["attachments"])]
    assert sum(map(len, groups)) <= 50
    assert len(payload["attachments"]) <= 20
    for block in (block for group in groups for block in group):
        kind = block["type"]
        if kind == "header":
            assert block["text"]["type"] == "plain_text"
            assert 0 < len(block["text"]["text"]) <= 150
        elif kind == "section":
            assert "text" in block or "fields" in block
            if "text" in block:
                assert 0 < len(block["text"]["text"]) <= 3000
            if "fields" in block:
                assert 1 <= len(block["fields"]) <= 10
                assert all(0 < len(field["text"]) <= 2000 for field in block["fields"])
        elif kind == "context":
            assert 1 <= len(block["elements"]) <= 10
            assert all(0 < len(element["text"]) <= 3000 for element in block["elements"])
        elif kind == "image":
            assert set(block) == {"type", "image_url", "alt_text"}
            assert 0 < len(block["image_url"]) <= 3000
            assert block["image_url"].startswith("http")
            assert 0 < len(block["alt_text"]) <= 2000
        else:
            raise AssertionError(f"a block of kind {kind} that nobody checked")


def check_discord(payload: dict[str, Any]) -> None:
    """Discord's reference: resources "webhook" (execute) and "channel" (embed limits)."""
    assert set(payload) <= {"content", "username", "embeds", "allowed_mentions"}
    assert payload["allowed_mentions"] == {"parse": []}
    assert 1 <= len(payload["embeds"]) <= 10
    total = 0
    for embed in payload["embeds"]:
        assert 0 < len(embed["title"]) <= 256
        assert len(embed.get("description", "x")) in range(1, 4097)
        assert 0 <= embed["color"] <= 0xFFFFFF
        assert len(embed["url"]) <= 2048
        datetime.fromisoformat(embed["timestamp"].replace("Z", "+00:00"))
        assert 0 < len(embed["footer"]["text"]) <= 2048
        assert len(embed["fields"]) <= 25
        if "image" in embed:
            assert len(embed["image"]["url"]) <= 2048
            assert embed["image"]["url"].startswith("http")
        total += len(embed["title"]) + len(embed.get("description", "")) + len(embed["footer"]["text"])
        for field in embed["fields"]:
            assert 0 < len(field["name"].strip()) <= 256
            assert 0 < len(field["value"].strip()) <= 1024
            assert isinstance(field["inline"], bool)
            total += len(field["name"]) + len(field["value"])
    assert total <= 6000


def check_teams(payload: dict[str, Any]) -> None:
    """Microsoft: "Create and send messages" (28 KB) and the Adaptive Cards schema 1.4, as far as we use it."""
    assert len(json.dumps(payload, ensure_ascii=False).encode("utf-8", "replace")) <= 28 * 1024
    assert payload["type"] == "message"
    [attachment] = payload["attachments"]
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    assert attachment["contentUrl"] is None
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    assert card["body"]
    for element in card["body"]:
        if element["type"] == "Image":
            assert set(element) == {"type", "url", "altText", "size"}
            assert element["size"] in ("auto", "stretch", "small", "medium", "large")
            assert element["url"].startswith("http")
            continue
        assert element["type"] == "RichTextBlock"
        assert element["spacing"] in ("default", "none", "small", "medium", "large", "extraLarge", "padding")
        assert element["inlines"]
        for run in element["inlines"]:
            assert run["type"] == "TextRun"
            assert run["text"]
            assert run.get("size", "default") in ("default", "small", "medium", "large", "extraLarge")
            assert run.get("weight", "default") in ("default", "lighter", "bolder")
            colours = ("default", "dark", "light", "accent", "good", "warning", "attention")
            assert run.get("color", "default") in colours
            assert set(run) <= {"type", "text", "size", "weight", "color", "isSubtle", "italic"}
    for action in card["actions"]:
        assert action["type"] == "Action.OpenUrl"
        assert action["title"]
        assert action["url"].startswith("http")


def check_pagerduty(event: dict[str, Any]) -> None:
    """PagerDuty: Events API v2, "Send an alert event"."""
    assert len(json.dumps(event).encode()) <= 512 * 1024
    assert re.fullmatch(r"\w{32}", event["routing_key"])
    assert event["event_action"] in ("trigger", "acknowledge", "resolve")
    assert 0 < len(event["dedup_key"]) <= 255
    if event["event_action"] != "trigger":
        return
    payload = event["payload"]
    assert 0 < len(payload["summary"]) <= 1024
    assert payload["source"].strip()
    assert payload["severity"] in ("critical", "error", "warning", "info")
    datetime.fromisoformat(payload["timestamp"].replace("Z", "+00:00"))
    assert isinstance(payload["custom_details"], dict)
    assert all(isinstance(payload[name], str) for name in ("component", "group", "class"))
    assert all(link["href"].startswith("http") and link["text"] for link in event["links"])
    assert all(image["src"].startswith("https:") for image in event.get("images", ()))


def check_ntfy(publication: dict[str, Any]) -> None:
    """ntfy: "Publish as JSON", and the server's default message-size-limit of 4,096 bytes."""
    known = {
        "topic",
        "message",
        "title",
        "tags",
        "priority",
        "actions",
        "click",
        "markdown",
        "attach",
        "filename",
    }
    assert set(publication) <= known
    assert re.fullmatch(r"[-_A-Za-z0-9]{1,64}", publication["topic"])
    assert 0 < len(publication["message"].encode()) <= 4096
    assert publication["title"]
    assert publication["priority"] in (1, 2, 3, 4, 5)
    assert all(isinstance(tag, str) for tag in publication["tags"])
    assert len(publication["actions"]) <= 3
    for action in publication["actions"]:
        assert action["action"] == "view"
        assert action["label"]
        assert action["url"].startswith("http")
