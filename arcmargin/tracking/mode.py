"""Where Weights & Biases runs go: online, offline or nowhere. Never a menu, never a long wait."""

import base64
import json
import logging
import netrc
import os
import threading
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from arcmargin.errors import UserError

log = logging.getLogger(__name__)

MODES = ("auto", "online", "offline", "disabled")
PROBE_SECONDS = 3.0
PUBLIC = "api.wandb.ai"  # keys of the public server are noted under its first name
# What auto came to, for the later jobs of a sweep and for its worker processes.
DECIDED = "ARCMARGIN_WANDB_MODE"
SWEPT = "ARCMARGIN_SWEPT"  # the keys that vary in a sweep, for the names of its runs
_OTHER_NAMES = {"dryrun": "offline", "run": "online", "shared": "online", "": "auto"}


def resolve(mode: str) -> str:
    """`online`, `offline` or `disabled`; $WANDB_MODE and $WANDB_DISABLED go before `mode`.

    auto asks the server once and remembers the answer for child processes. Raises UserError for an
    unknown mode, and for online when W&B cannot be reached with the key.
    """
    if os.environ.get("WANDB_DISABLED", "").lower() in ("true", "1", "yes"):
        return "disabled"
    given = os.environ.get("WANDB_MODE") or mode
    given = _OTHER_NAMES.get(given, given)
    if given not in MODES:
        raise UserError(f"wandb.mode must be one of {', '.join(MODES)}, got '{given}'")
    if os.environ.get("WANDB_MODE") in ("auto", ""):
        del os.environ["WANDB_MODE"]  # W&B itself knows neither
    if given == "auto":
        return os.environ.get(DECIDED) or _decide()
    if given == "online" and os.environ.get(DECIDED) != "online":
        reason = problem()
        if reason is not None:
            raise UserError(
                f"wandb.mode=online, but {reason}; run 'wandb login', check the network, "
                "or use wandb.mode=auto"
            )
        os.environ[DECIDED] = "online"
    return given


def check_one_run_a_job() -> None:
    """Raises UserError where W&B would take all jobs of a multirun for the same run."""
    given = next(
        (name for name in ("WANDB_SWEEP_ID", "WANDB_RUN_ID") if os.environ.get(name)), None
    )
    if given is not None:
        raise UserError(
            f"{given} is set, so all jobs of this multirun would be one W&B run; unset it, use "
            "logger=none, or, under a W&B agent, list the values in its sweep file instead"
        )


def give_up() -> None:
    """The later jobs of a sweep do not wait for a server that failed this one."""
    os.environ[DECIDED] = "offline"


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


def _decide() -> str:
    reason = problem()
    mode = "online" if reason is None else "offline"
    if reason is not None:
        log.info("W&B: offline, %s", reason)
    os.environ[DECIDED] = mode
    return mode


def _base_url() -> str:
    """As W&B finds it: $WANDB_BASE_URL, its settings files, or the public server."""
    if url := os.environ.get("WANDB_BASE_URL"):
        return url.rstrip("/")
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    return str(wandb.setup().settings.base_url).rstrip("/")


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
        with urllib.request.urlopen(request, timeout=PROBE_SECONDS) as answer:
            data = json.load(answer).get("data") or {}
    except urllib.error.HTTPError as error:
        if error.code in (401, 403) and key:
            return f"{url} refuses the API key"
        return None if not key and error.code < 500 else f"{url} answers with HTTP {error.code}"
    except (OSError, ValueError, AttributeError):
        return f"{url} cannot be reached"
    return None if data.get("viewer") or not key else f"{url} refuses the API key"
