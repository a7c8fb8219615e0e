"""Each tenant's rate: a token bucket in bytes and one in items, kept as the time at which each will be out of debt.

A request is taken when neither bucket is in debt, and may put it into debt, which the next one waits for: so a request
larger than a burst is not refused for ever, and the wait that a client is told is exact. In any stretch of time a
tenant sends no more than its rate times the stretch, one burst, and one request.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from ingest.settings import IngestSettings
from schemas.errors import OverloadedError


class Account:
    """One tenant: what a byte and an item cost in seconds, and when each bucket is out of debt."""

    __slots__ = ("bytes_at", "items_at", "s_per_byte", "s_per_item")

    def __init__(self, bytes_per_s: float, items_per_s: float) -> None:
        self.s_per_byte = 1 / bytes_per_s if bytes_per_s else 0.0
        self.s_per_item = 1 / items_per_s if items_per_s else 0.0
        self.bytes_at = self.items_at = -math.inf


class Throttle:
    """Safe from any thread; never blocks. Remembers the tenants that came last, `tenants_remembered` of them."""

    def __init__(self, settings: IngestSettings, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._bytes_per_s = settings.tenant_bytes_per_s
        self._items_per_s = settings.tenant_items_per_s
        self._limits = settings.tenant_limits
        self._burst_s = settings.tenant_burst_s
        self._remembered = settings.tenants_remembered
        self._clock = clock
        self._lock = threading.Lock()
        self._accounts: OrderedDict[str, Account] = OrderedDict()

    @classmethod
    def of(cls, settings: IngestSettings) -> Throttle | None:
        """The throttle that the settings ask for; None when no tenant has a limit."""
        every = [(settings.tenant_bytes_per_s, settings.tenant_items_per_s)]
        every += [(limit.bytes_per_s or 0.0, limit.items_per_s or 0.0) for limit in settings.tenant_limits.values()]
        return cls(settings) if any(map(any, every)) else None

    @property
    def tenants(self) -> int:
        """How many tenants are remembered."""
        return len(self._accounts)

    def refuse_in_debt(self, tenant: str) -> None:
        """Ask, before a body is read, whether it would be taken now; takes nothing.

        Raises:
            OverloadedError: a bucket of the tenant is in debt; it says when it will not be.
        """
        # Without the lock: what changes meanwhile is decided by `admit`.
        account = self._accounts.get(tenant)
        if account is not None:
            now = self._clock()
            if account.bytes_at > now or account.items_at > now:
                raise self._in_debt(account, now)

    def admit(self, tenant: str, size_bytes: int) -> Account:
        """Take `size_bytes` of a tenant whose buckets are not in debt; its account, for `charge`.

        Raises:
            OverloadedError: one is; it says when it will not be.
        """
        now = self._clock()
        with self._lock:
            account = self._account(tenant)
            if account.bytes_at <= now and account.items_at <= now:
                if account.s_per_byte:
                    account.bytes_at = max(account.bytes_at, now - self._burst_s) + size_bytes * account.s_per_byte
                return account
        raise self._in_debt(account, now)

    def charge(self, account: Account, items: int) -> None:
        """Take the items of a request that was admitted: how many it holds is known only once it was read."""
        if account.s_per_item:
            with self._lock:
                account.items_at = max(account.items_at, self._clock() - self._burst_s) + items * account.s_per_item

    @staticmethod
    def _in_debt(account: Account, now: float) -> OverloadedError:
        of_bytes = account.bytes_at >= account.items_at
        setting, per_s = (
            ("tenant_bytes_per_s", account.s_per_byte) if of_bytes else ("tenant_items_per_s", account.s_per_item)
        )
        # Up to whole milliseconds, so that a client that waits exactly as long is not early by a rounding.
        wait_s = math.ceil((max(account.bytes_at, account.items_at) - now) * 1000) / 1000
        return OverloadedError(
            f"{setting}: at most {1 / per_s:g} {'bytes' if of_bytes else 'items'} a second from one tenant",
            retry_after_s=max(wait_s, 0.001),
        )

    def _account(self, tenant: str) -> Account:
        account = self._accounts.get(tenant)
        if account is not None:
            self._accounts.move_to_end(tenant)
            return account
        limit = self._limits.get(tenant)
        bytes_per_s, items_per_s = self._bytes_per_s, self._items_per_s
        if limit is not None:
            bytes_per_s = bytes_per_s if limit.bytes_per_s is None else limit.bytes_per_s
            items_per_s = items_per_s if limit.items_per_s is None else limit.items_per_s
        account = self._accounts[tenant] = Account(bytes_per_s, items_per_s)
        if len(self._accounts) > self._remembered:
            # Whoever has been silent for a burst has full buckets anyway and loses no debt by it.
            self._accounts.popitem(last=False)
        return account
