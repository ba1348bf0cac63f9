"""Check whether W&B's server can be reached, which takes W&B itself a minute and a half."""

import http.client
import os
import ssl
import threading
import urllib.error
import urllib.request

from src.utils.errors import UserError

WITHIN_S = 5.0


def check_server(mode: str) -> None:
    """Raise a UserError if runs are to be logged online and W&B's server does not answer within :data:`WITHIN_S`.

    Call this before a run begins, so that it does not count as failed.
    """
    if mode == "online" and (problem := _problem()):
        raise UserError(
            f"wandb.mode=online, but {problem}. With wandb.mode=offline the run needs no network, and `python -m "
            "src.sync` uploads it later from a machine that has one"
        )


def _problem() -> str | None:
    """Return why the server cannot be reached; None if it answers, whatever its answer."""
    import wandb

    settings = wandb.Settings()  # not those of wandb.setup(), which would keep all variables as they are now
    settings.update_from_system_settings()
    url = os.environ.get("WANDB_BASE_URL") or settings.base_url
    outcome: list[str | None] = []

    def ask() -> None:
        try:
            urllib.request.urlopen(url, timeout=WITHIN_S).close()
            outcome.append(None)
        except (urllib.error.HTTPError, http.client.HTTPException):  # an answer, if only to say no
            outcome.append(None)
        except urllib.error.URLError as error:
            # W&B's own client may trust other certificates than Python does.
            known = isinstance(error.reason, ssl.SSLCertVerificationError)
            outcome.append(None if known else f"{url} cannot be reached from here ({error.reason})")
        except (OSError, ValueError) as error:
            outcome.append(f"{url} cannot be reached from here ({error})")

    thread = threading.Thread(target=ask, name="W&B's server", daemon=True)  # looking up a name has no time limit
    thread.start()
    thread.join(WITHIN_S)
    return outcome[0] if outcome else f"{url} does not answer within {WITHIN_S:.0f} s"
