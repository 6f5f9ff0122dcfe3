"""Where Weights & Biases runs go: online, offline or nowhere. Never a menu, never a long wait."""

import base64
import json
import logging
import netrc
import os
import secrets
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from arcmargin.errors import UserError
from arcmargin.files import write_atomically

log = logging.getLogger(__name__)

MODES = ("auto", "online", "offline", "disabled")
PROBE_SECONDS = 3.0
PUBLIC = "api.wandb.ai"  # keys of the public server are noted under its first name
GROUP_FILE = ".wandb.json"  # in the folder of runs that belong together
_OTHER_NAMES = {"dryrun": "offline", "run": "online", "shared": "online"}


class Decision(NamedTuple):
    mode: str  # online, offline or disabled
    reason: str | None = None  # why auto came to offline
    required: bool = False  # online was asked for: nothing else will do


class Group(NamedTuple):
    """What was decided for runs that belong together, such as the jobs of a sweep."""

    mode: str
    reason: str | None
    varying: list[str]  # the keys that differ among the runs
    report_id: str  # of the W&B run that compares them


def decide(mode: str, folder: Path | None = None) -> Decision:
    """$WANDB_MODE and $WANDB_DISABLED go before `mode`.

    auto asks the server, once for all runs of the group in `folder`. Raises UserError for an unknown
    mode, and for online when W&B cannot be reached with the key.
    """
    if os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes"):
        return Decision("disabled")
    given = os.environ.get("WANDB_MODE") or mode
    given = _OTHER_NAMES.get(given, given)
    if given not in MODES:
        raise UserError(f"wandb.mode must be one of {', '.join(MODES)}, got '{given}'")
    if given == "auto" and os.environ.get("WANDB_MODE"):
        raise UserError(
            "WANDB_MODE=auto means nothing to W&B itself; unset it: auto is the default"
        )
    if given not in ("auto", "online"):
        return Decision(given)
    if group := read_group(folder):
        return Decision(group.mode, group.reason)
    reason = problem()
    if given == "online" and reason is not None:
        raise UserError(
            f"wandb.mode=online, but {reason}; run 'wandb login', check the network, or use "
            "wandb.mode=auto"
        )
    return Decision("online" if reason is None else "offline", reason, given == "online")


def begin_group(folder: Path, mode: str, varying: Sequence[str]) -> None:
    """Before the first run of a group: decides where its runs go and notes which keys vary. Raises
    UserError where that is nowhere, or where W&B would take all runs for the same one."""
    decision = decide(mode)
    if decision.mode == "disabled":
        return
    given = [name for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID") if os.environ.get(name)]
    if given:
        raise UserError(
            f"{given[0]} is set, so all jobs of this multirun would be one W&B run; unset it, use "
            "logger=none, or, under a W&B agent, list the values in its sweep file instead"
        )
    before = read_group(folder)  # of an earlier attempt, whose report is brought up to date
    report_id = before.report_id if before else secrets.token_hex(4)
    _write_group(folder, Group(decision.mode, decision.reason, list(varying), report_id))


def give_up(folder: Path | None) -> None:
    """The later runs of a group do not wait for a server that failed this one."""
    if folder is not None and (group := read_group(folder)):
        _write_group(folder, group._replace(mode="offline"))


def read_group(folder: Path | None) -> Group | None:
    """None for a run that belongs to no group, and where nothing was decided for it."""
    try:
        return Group(**json.loads((folder / GROUP_FILE).read_bytes())) if folder else None
    except (OSError, ValueError, TypeError):
        return None


def _write_group(folder: Path, group: Group) -> None:
    content = json.dumps(group._asdict()).encode()
    write_atomically(folder / GROUP_FILE, lambda file: file.write(content))


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
