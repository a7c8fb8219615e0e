"""Which tenant a request names: one value of one header, the same rule for both receivers."""

from __future__ import annotations

from collections.abc import Sequence

from ingest.settings import IngestSettings
from schemas.errors import MalformedRequestError, TenantDeniedError

_SHOWN_CHARACTERS = 200


class Tenants:
    """The rule of `tenant_header` and `tenants`. Safe from any thread."""

    def __init__(self, settings: IngestSettings) -> None:
        self._header = settings.tenant_header
        self._listed = frozenset(settings.tenants)

    def named(self, values: Sequence[str]) -> str:
        """The tenant of a request whose header has `values`, in the order in which they came; '' for none.

        Raises:
            MalformedRequestError: more than one value, equal or not: a proxy before us may look at another of them.
            TenantDeniedError: a tenant that is not listed, where any are.
        """
        if len(values) > 1:
            shown = ", ".join(repr(value[:_SHOWN_CHARACTERS]) for value in values[:3])
            raise MalformedRequestError(
                f"{self._header}: must be given once at most; got {len(values)} values: {shown}"
            )
        tenant = values[0] if values else ""
        if self._listed and tenant not in self._listed:
            raise TenantDeniedError(
                f"{self._header}: must be one of ingest.tenants; got {tenant[:_SHOWN_CHARACTERS]!r}"
            )
        return tenant
