"""Lines of a ModelArtifact, as messages give them to a user who must add one. Pure."""

from __future__ import annotations

#: For a source without TLS.
ALLOW_PLAIN_HTTP = "add `transfer: {tls: {allowPlainHTTP: true}}` to spec (spec.transfer.tls.allowPlainHTTP: true)"


def add_auth(keys: str) -> str:
    """What to add for a source that requires a credential; `keys`: of its Secret, in words."""
    return (
        f"add `auth: {{secretRef: {{name: NAME}}}}` to spec (spec.auth), and {keys} to the Secret NAME (for the"
        " command: to the directory NAME in --secrets)"
    )


#: For most sources.
ADD_TOKEN = add_auth("the key token")
