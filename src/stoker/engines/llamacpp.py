"""llama.cpp's server: slots instead of sequences, no KV gauge, no priority, a tokenizer."""

from __future__ import annotations

import asyncio

import msgspec

from stoker.core.errors import EngineRefused
from stoker.core.events import EngineSample
from stoker.core.limits import Capacity
from stoker.core.work import RequestId
from stoker.engines.bodies import CHAT, COMPLETIONS, Wire, decode_fields
from stoker.engines.exposition import Exposition
from stoker.engines.http_client import HttpClient
from stoker.engines.placement import SlotPlacement
from stoker.ports import EngineTraits

_DEFAULT_BATCH = 2048
"""Its own `n_batch`, which no endpoint tells."""


class LlamaCppDialect:
    """`kv_tokens` is `n_ctx` of the whole server where the slots share one cache."""

    traits = EngineTraits(
        # A hang-up is noticed when the next token is written (40 ms, measured), so during a prefill
        # only at its end. The grace is that of a prompt of two or three hundred tokens.
        name="llamacpp",
        has_telemetry=True,
        abort_grace_s=1.5,
        honours_priority=False,
    )
    # It continues a final assistant message by itself, without being told to.
    wire = Wire(
        continuation={},
        are_events_mended=True,
        is_prefill_echoed=True,
        does_plain_call_outlive_client=True,
    )
    probe = (COMPLETIONS, b'{"prompt":"ping","max_tokens":1,"cache_prompt":false}')

    def __init__(
        self, *, is_kv_unified: bool = False, placement: SlotPlacement | None = None
    ) -> None:
        self._is_kv_unified = is_kv_unified
        self.placement = placement
        self._kv_tokens: int | None = None

    async def capacity(self, http: HttpClient) -> Capacity:
        props = await http.get("/props", _Props)
        slot_tokens = props.default_generation_settings.n_ctx
        # With split caches every slot has its own n_ctx; a unified one is shared, and each slot
        # reports the whole of it. No endpoint says which, so only who started it knows.
        self._kv_tokens = slot_tokens if self._is_kv_unified else slot_tokens * props.total_slots
        return Capacity(
            requests=props.total_slots,
            kv_tokens=self._kv_tokens,
            context_tokens=slot_tokens,
            prefill_tokens_per_step=_DEFAULT_BATCH,
        )

    async def sample(self, http: HttpClient) -> EngineSample:
        page, used = await asyncio.gather(http.get_text("/metrics"), self._used_tokens(http))
        metrics = Exposition(page, ("llamacpp:",))
        cached = metrics.total("llamacpp:prompt_tokens_cached")
        read = metrics.total("llamacpp:prompt_tokens")
        return EngineSample(
            running=metrics.count("llamacpp:requests_processing"),
            waiting=metrics.count("llamacpp:requests_deferred"),
            kv_cache_usage=self._share(used),
            # Its counter leaves cached tokens out; everybody else's has them in.
            prompt_tokens_total=None if read is None else read + (cached or 0.0),
            prompt_tokens_cached_total=cached,
            output_tokens_total=metrics.total("llamacpp:tokens_predicted"),
        )

    async def count_prompt_tokens(self, http: HttpClient, endpoint: str, body: bytes) -> int | None:
        fields = decode_fields(body)
        if endpoint == CHAT and "messages" in fields:
            prompt = (await http.post("/apply-template", body, _Templated)).prompt
        elif endpoint == COMPLETIONS and bytes(fields.get("prompt", b"")).startswith(b'"'):
            try:
                prompt = msgspec.json.decode(fields["prompt"], type=str)
            except msgspec.DecodeError:
                return None  # half a surrogate pair, say: the engine will tell what it thinks of it
        else:
            return None
        question = {"content": prompt, "add_special": True, "parse_special": True}
        return len((await http.post("/tokenize", msgspec.json.encode(question), _Tokens)).tokens)

    async def abort(self, http: HttpClient, id: RequestId) -> None:
        """Hanging up is all that can be done."""

    async def _used_tokens(self, http: HttpClient) -> int | None:
        try:
            slots = await http.get("/slots", list[_Slot])
        except EngineRefused:
            return None  # Started with --no-slots.
        if self.placement is not None:
            self.placement.saw_idle(slot.id for slot in slots if not slot.is_processing)
        used = 0
        for slot in slots:
            if slot.is_processing and slot.n_prompt_tokens is None:
                return None  # A server too old to tell.
            used += (slot.n_prompt_tokens or 0) if slot.is_processing else 0
        return used

    def _share(self, used: int | None) -> float | None:
        if used is None or not self._kv_tokens:
            return None
        return min(1.0, used / self._kv_tokens)


class _Generation(msgspec.Struct):
    n_ctx: int


class _Props(msgspec.Struct):
    total_slots: int
    default_generation_settings: _Generation


class _Slot(msgspec.Struct):
    id: int
    is_processing: bool = False
    n_prompt_tokens: int | None = None
    """Its tokens in the cache: the count begins with the prompt and grows with the output."""


class _Templated(msgspec.Struct):
    prompt: str


class _Tokens(msgspec.Struct):
    tokens: list[msgspec.Raw]
