"""Everything that the scheduler knows, put together once: the parts that its halves share.

Owns no rule. `facts.py` writes what happened into it, `decisions.py` draws the conclusions.
"""

from __future__ import annotations

from collections import Counter

from stoker.core.admission import Admission
from stoker.core.ageing import Ageing
from stoker.core.beside_p0 import BesideP0
from stoker.core.box import Box
from stoker.core.claims import Claims
from stoker.core.fair_share import FairShares
from stoker.core.hold import P0Hold
from stoker.core.host_guard import HostGuard
from stoker.core.learning import Learning
from stoker.core.ledger import Ledger
from stoker.core.limits import Capacity
from stoker.core.load import LoadPredictor, PeakForecast
from stoker.core.p2_order import P2Order
from stoker.core.places import Places
from stoker.core.policy import Policy
from stoker.core.queues import ClassQueues
from stoker.core.reasons import Reason
from stoker.core.resuming import Resuming
from stoker.core.service_curve import ServiceCurve
from stoker.core.service_meter import ServiceMeter
from stoker.core.sharing import Sharing
from stoker.core.story import Stories
from stoker.core.tenants import Tenants
from stoker.core.waits import Waits
from stoker.core.window_meter import WindowMeter
from stoker.core.work import P2, Priority, RequestId


class State:
    """All scheduling state: the parts, each with its own job, and a few counters."""

    def __init__(self, policy: Policy, capacity: Capacity) -> None:
        self.policy = policy
        self.box = Box(capacity)
        self.guard = HostGuard(policy)
        self.ledger = Ledger()
        self.fair = FairShares(policy.tenant_shares)
        self.queues = ClassQueues(self.fair)
        self.tenants = Tenants()
        self.hold = P0Hold(policy.p0_linger_s)
        self.ageing = Ageing(policy)
        self.waits = Waits(policy)
        self.predictor = LoadPredictor()
        self.forecast = PeakForecast()
        self.service = ServiceCurve()
        self.resuming = Resuming(self.ledger, self.service)
        self.beside_p0 = BesideP0(
            policy, self.box, self.ledger, self.hold, self.service, self.resuming
        )
        self.meter = WindowMeter()
        self.learning = Learning(
            self.ledger,
            self.predictor,
            self.forecast,
            ServiceMeter(self.ledger, self.box, self.service),
            self.resuming,
            self.meter,
        )
        self.stories = Stories()
        self.claims = Claims(self.fair.of(P2))
        self.p2_order = P2Order()
        self.sharing = Sharing()
        self.places = Places(policy.session_ttl_max_s)
        self.admission = Admission(
            policy,
            self.box,
            self.ledger,
            self.beside_p0,
            self.ageing,
            self.forecast,
            self.guard,
            self.places,
        )
        self.admissions: Counter[tuple[Priority, Reason]] = Counter()
        self.outcomes: Counter[tuple[Priority, str]] = Counter()
        self.preemptions = 0
        self.preempted_at: dict[RequestId, float] = {}

    def advance(self, at: float) -> None:
        """Let the window's integrals run up to `at`, with everything as it has been."""
        if self.meter.is_at(at):
            return
        self.meter.advance(
            at,
            running=self.ledger.counts,
            places=self.places.counts,
            is_background=self.admission.is_background(at),
        )
