"""Where Weights & Biases runs go: online, offline or nowhere. Never a menu, never a long wait."""

import base64
import json
import logging
import netrc
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from arcmargin.errors import UserError
from arcmargin.record import write_atomically

log = logging.getLogger(__name__)

MODES = ("auto", "online", "offline", "disabled")
PROBE_SECONDS = 3.0
PUBLIC = "api.wandb.ai"  # keys of the public server are noted under its first name
# In the folder of runs that belong together: what auto came to, and which keys vary among them.
GROUP_FILE = ".wandb.json"
_OTHER_NAMES = {"dryrun": "offline", "run": "online", "shared": "online"}


def resolve(mode: str, group: Path | None = None) -> str:
    """`online`, `offline` or `disabled`; $WANDB_MODE and $WANDB_DISABLED go before `mode`.

    auto asks the server, once for all runs of a group. Raises UserError for an unknown mode, and for
    online when W&B cannot be reached with the key.
    """
    if os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes"):
        return "disabled"
    given = os.environ.get("WANDB_MODE") or mode
    given = _OTHER_NAMES.get(given, given)
    if given not in MODES:
        raise UserError(f"wandb.mode must be one of {', '.join(MODES)}, got '{given}'")
    if given == "auto" and os.environ.get("WANDB_MODE"):
        raise UserError(
            "WANDB_MODE=auto means nothing to W&B itself; unset it: auto is the default"
        )
    if given not in ("auto", "online"):
        return given
    decided = _read_group(group).get("mode")
    if given == "auto" and decided:
        return str(decided)
    if decided == "online":
        return "online"
    reason = problem()
    if given == "online" and reason is not None:
        raise UserError(
            f"wandb.mode=online, but {reason}; run 'wandb login', check the network, or use "
            "wandb.mode=auto"
        )
    if reason is not None:
        log.info("W&B: offline, %s", reason)
    return "online" if reason is None else "offline"


def begin_group(group: Path, mode: str, varying: Sequence[str]) -> None:
    """Before the first run of a group: decides where its runs go and notes which keys vary. Raises
    UserError where that is nowhere, or where W&B would take all runs for the same one."""
    (group / GROUP_FILE).unlink(missing_ok=True)  # of an earlier attempt
    decided = resolve(mode)
    if decided == "disabled":
        return
    given = [name for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID") if os.environ.get(name)]
    if given:
        raise UserError(
            f"{given[0]} is set, so all jobs of this multirun would be one W&B run; unset it, use "
            "logger=none, or, under a W&B agent, list the values in its sweep file instead"
        )
    _write_group(group, {"mode": decided, "varying": list(varying)})


def varying_keys(group: Path | None) -> list[str] | None:
    """The keys that vary in a group; None where nothing is known of it."""
    keys = _read_group(group).get("varying")
    return keys if isinstance(keys, list) else None


def give_up(group: Path | None) -> None:
    """The later runs of a group do not wait for a server that failed this one."""
    if group is not None:
        _write_group(group, {**_read_group(group), "mode": "offline"})


def _read_group(group: Path | None) -> dict[str, Any]:
    if group is None:
        return {}
    try:
        content = json.loads((group / GROUP_FILE).read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_group(group: Path, content: dict[str, Any]) -> None:
    write_atomically(group / GROUP_FILE, lambda file: file.write(json.dumps(content).encode()))


def problem() -> str | None:
    """Why W&B cannot be used online, in at most PROBE_SECONDS; None when it can."""
    url = _base_url()
    key = _key(url)
    if os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        key = key or ""  # W&B trades the token for access itself
    elif key is None:
        return "there is no API key"
    answers: list[str | None] = []
    # A thread, because looking up a host's name knows no time limit.
    asking = threading.Thread(target=lambda: answers.append(_ask(url, key)), daemon=True)
    asking.start()
    asking.join(PROBE_SECONDS)
    return answers[0] if answers else f"{url} does not answer"


def _base_url() -> str:
    """As W&B finds it: $WANDB_BASE_URL, its settings files, or the public server."""
    if url := os.environ.get("WANDB_BASE_URL"):
        return url.rstrip("/")
    import wandb

    return str(wandb.setup(wandb.Settings(silent=True)).settings.base_url).rstrip("/")


def _key(url: str) -> str | None:
    if key := os.environ.get("WANDB_API_KEY"):
        return key
    named = os.environ.get("NETRC")
    for path in [Path(named)] if named else [Path.home() / ".netrc", Path.home() / "_netrc"]:
        try:
            known = netrc.netrc(path)
        except (OSError, netrc.NetrcParseError):
            continue
        hosts = [urlsplit(url).netloc, *([PUBLIC] if "WANDB_BASE_URL" not in os.environ else [])]
        for host in hosts:
            if (found := known.authenticators(host)) and found[2]:
                return found[2]
    return None


class _StayOnHost(urllib.request.HTTPRedirectHandler):
    """urllib would send the key on to wherever a redirect points."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


_opener = urllib.request.build_opener(_StayOnHost)


def _ask(url: str, key: str) -> str | None:
    """Who the key belongs to: the cheapest question that needs a working key."""
    request = urllib.request.Request(
        f"{url}/graphql", json.dumps({"query": "query Viewer { viewer { id } }"}).encode()
    )
    request.add_header("Content-Type", "application/json")
    if key:
        token = base64.b64encode(f"api:{key}".encode()).decode()
        request.add_header("Authorization", f"Basic {token}")
    try:
        with _opener.open(request, timeout=PROBE_SECONDS) as answer:
            data = json.load(answer).get("data") or {}
    except urllib.error.HTTPError as error:
        if error.code in (401, 403) and key:
            return f"{url} refuses the API key"
        return None if not key and error.code < 500 else f"{url} answers with HTTP {error.code}"
    except (OSError, ValueError, AttributeError):
        return f"{url} cannot be reached"
    return None if data.get("viewer") or not key else f"{url} refuses the API key"
