from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListBandsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListBandsResponse(_message.Message):
    __slots__ = ("bands", "next_page_token", "now_s")
    BANDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    NOW_S_FIELD_NUMBER: _ClassVar[int]
    bands: _containers.RepeatedCompositeFieldContainer[Band]
    next_page_token: str
    now_s: float
    def __init__(self, bands: _Optional[_Iterable[_Union[Band, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., now_s: _Optional[float] = ...) -> None: ...

class Band(_message.Message):
    __slots__ = ("priority", "queued_requests", "queued_bytes", "max_requests", "max_bytes", "running_requests", "flows", "lanes", "ceiling", "endpoints_with_room", "oldest_wait_s", "drain_rate", "expected_wait_s", "virtual_time", "fairness", "ordering", "wait_s")
    class WaitSEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    QUEUED_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    RUNNING_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    LANES_FIELD_NUMBER: _ClassVar[int]
    CEILING_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_WITH_ROOM_FIELD_NUMBER: _ClassVar[int]
    OLDEST_WAIT_S_FIELD_NUMBER: _ClassVar[int]
    DRAIN_RATE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_WAIT_S_FIELD_NUMBER: _ClassVar[int]
    VIRTUAL_TIME_FIELD_NUMBER: _ClassVar[int]
    FAIRNESS_FIELD_NUMBER: _ClassVar[int]
    ORDERING_FIELD_NUMBER: _ClassVar[int]
    WAIT_S_FIELD_NUMBER: _ClassVar[int]
    priority: int
    queued_requests: int
    queued_bytes: int
    max_requests: int
    max_bytes: int
    running_requests: int
    flows: int
    lanes: int
    ceiling: float
    endpoints_with_room: int
    oldest_wait_s: float
    drain_rate: float
    expected_wait_s: float
    virtual_time: float
    fairness: str
    ordering: str
    wait_s: _containers.ScalarMap[str, float]
    def __init__(self, priority: _Optional[int] = ..., queued_requests: _Optional[int] = ..., queued_bytes: _Optional[int] = ..., max_requests: _Optional[int] = ..., max_bytes: _Optional[int] = ..., running_requests: _Optional[int] = ..., flows: _Optional[int] = ..., lanes: _Optional[int] = ..., ceiling: _Optional[float] = ..., endpoints_with_room: _Optional[int] = ..., oldest_wait_s: _Optional[float] = ..., drain_rate: _Optional[float] = ..., expected_wait_s: _Optional[float] = ..., virtual_time: _Optional[float] = ..., fairness: _Optional[str] = ..., ordering: _Optional[str] = ..., wait_s: _Optional[_Mapping[str, float]] = ...) -> None: ...

class ListFlowsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "hash_flow_ids", "priority")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    HASH_FLOW_IDS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    hash_flow_ids: bool
    priority: int
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., hash_flow_ids: _Optional[bool] = ..., priority: _Optional[int] = ...) -> None: ...

class ListFlowsResponse(_message.Message):
    __slots__ = ("flows", "next_page_token", "now_s")
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    NOW_S_FIELD_NUMBER: _ClassVar[int]
    flows: _containers.RepeatedCompositeFieldContainer[Flow]
    next_page_token: str
    now_s: float
    def __init__(self, flows: _Optional[_Iterable[_Union[Flow, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., now_s: _Optional[float] = ...) -> None: ...

class Flow(_message.Message):
    __slots__ = ("fairness_id", "priority", "queued_requests", "queued_bytes", "in_flight", "tag", "lead", "tenants", "capped")
    FAIRNESS_ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    QUEUED_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_BYTES_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    LEAD_FIELD_NUMBER: _ClassVar[int]
    TENANTS_FIELD_NUMBER: _ClassVar[int]
    CAPPED_FIELD_NUMBER: _ClassVar[int]
    fairness_id: str
    priority: int
    queued_requests: int
    queued_bytes: int
    in_flight: int
    tag: float
    lead: float
    tenants: int
    capped: bool
    def __init__(self, fairness_id: _Optional[str] = ..., priority: _Optional[int] = ..., queued_requests: _Optional[int] = ..., queued_bytes: _Optional[int] = ..., in_flight: _Optional[int] = ..., tag: _Optional[float] = ..., lead: _Optional[float] = ..., tenants: _Optional[int] = ..., capped: _Optional[bool] = ...) -> None: ...

class ListQueuedRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "hash_flow_ids", "priority", "fairness_id")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    HASH_FLOW_IDS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    FAIRNESS_ID_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    hash_flow_ids: bool
    priority: int
    fairness_id: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., hash_flow_ids: _Optional[bool] = ..., priority: _Optional[int] = ..., fairness_id: _Optional[str] = ...) -> None: ...

class ListQueuedResponse(_message.Message):
    __slots__ = ("queued", "next_page_token", "now_s")
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    NOW_S_FIELD_NUMBER: _ClassVar[int]
    queued: _containers.RepeatedCompositeFieldContainer[QueuedRequest]
    next_page_token: str
    now_s: float
    def __init__(self, queued: _Optional[_Iterable[_Union[QueuedRequest, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., now_s: _Optional[float] = ...) -> None: ...

class QueuedRequest(_message.Message):
    __slots__ = ("request_id", "sequence", "priority", "fairness_id", "flow", "model", "arrived_at_s", "waited_s", "ttl_left_s", "hold_left_s", "size_bytes", "input_tokens", "output_tokens", "weight", "order_key", "eligible_endpoints", "endpoints_with_room", "needs_prefill_endpoint", "wait_reason")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    FAIRNESS_ID_FIELD_NUMBER: _ClassVar[int]
    FLOW_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ARRIVED_AT_S_FIELD_NUMBER: _ClassVar[int]
    WAITED_S_FIELD_NUMBER: _ClassVar[int]
    TTL_LEFT_S_FIELD_NUMBER: _ClassVar[int]
    HOLD_LEFT_S_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    ORDER_KEY_FIELD_NUMBER: _ClassVar[int]
    ELIGIBLE_ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    ENDPOINTS_WITH_ROOM_FIELD_NUMBER: _ClassVar[int]
    NEEDS_PREFILL_ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    WAIT_REASON_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    sequence: int
    priority: int
    fairness_id: str
    flow: str
    model: str
    arrived_at_s: float
    waited_s: float
    ttl_left_s: float
    hold_left_s: float
    size_bytes: int
    input_tokens: int
    output_tokens: int
    weight: float
    order_key: float
    eligible_endpoints: int
    endpoints_with_room: int
    needs_prefill_endpoint: bool
    wait_reason: str
    def __init__(self, request_id: _Optional[int] = ..., sequence: _Optional[int] = ..., priority: _Optional[int] = ..., fairness_id: _Optional[str] = ..., flow: _Optional[str] = ..., model: _Optional[str] = ..., arrived_at_s: _Optional[float] = ..., waited_s: _Optional[float] = ..., ttl_left_s: _Optional[float] = ..., hold_left_s: _Optional[float] = ..., size_bytes: _Optional[int] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., weight: _Optional[float] = ..., order_key: _Optional[float] = ..., eligible_endpoints: _Optional[int] = ..., endpoints_with_room: _Optional[int] = ..., needs_prefill_endpoint: _Optional[bool] = ..., wait_reason: _Optional[str] = ...) -> None: ...

class ListRunningRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "hash_flow_ids")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    HASH_FLOW_IDS_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    hash_flow_ids: bool
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., hash_flow_ids: _Optional[bool] = ...) -> None: ...

class ListRunningResponse(_message.Message):
    __slots__ = ("running", "next_page_token", "now_s")
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    NOW_S_FIELD_NUMBER: _ClassVar[int]
    running: _containers.RepeatedCompositeFieldContainer[RunningRequest]
    next_page_token: str
    now_s: float
    def __init__(self, running: _Optional[_Iterable[_Union[RunningRequest, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., now_s: _Optional[float] = ...) -> None: ...

class RunningRequest(_message.Message):
    __slots__ = ("request_id", "priority", "flow", "model", "endpoint", "endpoint_name", "prefill_endpoint", "dispatched_at_s", "running_s", "waited_s", "charge_tokens", "cost", "first_byte_seen", "being_evicted")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    FLOW_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_NAME_FIELD_NUMBER: _ClassVar[int]
    PREFILL_ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    DISPATCHED_AT_S_FIELD_NUMBER: _ClassVar[int]
    RUNNING_S_FIELD_NUMBER: _ClassVar[int]
    WAITED_S_FIELD_NUMBER: _ClassVar[int]
    CHARGE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    FIRST_BYTE_SEEN_FIELD_NUMBER: _ClassVar[int]
    BEING_EVICTED_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    priority: int
    flow: str
    model: str
    endpoint: str
    endpoint_name: str
    prefill_endpoint: str
    dispatched_at_s: float
    running_s: float
    waited_s: float
    charge_tokens: int
    cost: float
    first_byte_seen: bool
    being_evicted: bool
    def __init__(self, request_id: _Optional[int] = ..., priority: _Optional[int] = ..., flow: _Optional[str] = ..., model: _Optional[str] = ..., endpoint: _Optional[str] = ..., endpoint_name: _Optional[str] = ..., prefill_endpoint: _Optional[str] = ..., dispatched_at_s: _Optional[float] = ..., running_s: _Optional[float] = ..., waited_s: _Optional[float] = ..., charge_tokens: _Optional[int] = ..., cost: _Optional[float] = ..., first_byte_seen: _Optional[bool] = ..., being_evicted: _Optional[bool] = ...) -> None: ...

class ListEndpointsRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListEndpointsResponse(_message.Message):
    __slots__ = ("endpoints", "next_page_token", "now_s")
    ENDPOINTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    NOW_S_FIELD_NUMBER: _ClassVar[int]
    endpoints: _containers.RepeatedCompositeFieldContainer[Endpoint]
    next_page_token: str
    now_s: float
    def __init__(self, endpoints: _Optional[_Iterable[_Union[Endpoint, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., now_s: _Optional[float] = ...) -> None: ...

class Endpoint(_message.Message):
    __slots__ = ("address", "uid", "name", "knowledge", "sample_age_s", "load", "own_requests", "own_tokens", "foreign_requests", "proven_requests", "sent_since_sample", "engine_waiting", "engine_running", "kv_utilization", "stated_limit", "learned_limit", "saturation", "rooms")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    KNOWLEDGE_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_AGE_S_FIELD_NUMBER: _ClassVar[int]
    LOAD_FIELD_NUMBER: _ClassVar[int]
    OWN_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    OWN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    FOREIGN_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    PROVEN_REQUESTS_FIELD_NUMBER: _ClassVar[int]
    SENT_SINCE_SAMPLE_FIELD_NUMBER: _ClassVar[int]
    ENGINE_WAITING_FIELD_NUMBER: _ClassVar[int]
    ENGINE_RUNNING_FIELD_NUMBER: _ClassVar[int]
    KV_UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    STATED_LIMIT_FIELD_NUMBER: _ClassVar[int]
    LEARNED_LIMIT_FIELD_NUMBER: _ClassVar[int]
    SATURATION_FIELD_NUMBER: _ClassVar[int]
    ROOMS_FIELD_NUMBER: _ClassVar[int]
    address: str
    uid: str
    name: str
    knowledge: str
    sample_age_s: float
    load: int
    own_requests: int
    own_tokens: int
    foreign_requests: int
    proven_requests: int
    sent_since_sample: int
    engine_waiting: int
    engine_running: int
    kv_utilization: float
    stated_limit: int
    learned_limit: float
    saturation: float
    rooms: _containers.RepeatedCompositeFieldContainer[Room]
    def __init__(self, address: _Optional[str] = ..., uid: _Optional[str] = ..., name: _Optional[str] = ..., knowledge: _Optional[str] = ..., sample_age_s: _Optional[float] = ..., load: _Optional[int] = ..., own_requests: _Optional[int] = ..., own_tokens: _Optional[int] = ..., foreign_requests: _Optional[int] = ..., proven_requests: _Optional[int] = ..., sent_since_sample: _Optional[int] = ..., engine_waiting: _Optional[int] = ..., engine_running: _Optional[int] = ..., kv_utilization: _Optional[float] = ..., stated_limit: _Optional[int] = ..., learned_limit: _Optional[float] = ..., saturation: _Optional[float] = ..., rooms: _Optional[_Iterable[_Union[Room, _Mapping]]] = ...) -> None: ...

class Room(_message.Message):
    __slots__ = ("ceiling", "priorities", "has_room", "obstacles")
    CEILING_FIELD_NUMBER: _ClassVar[int]
    PRIORITIES_FIELD_NUMBER: _ClassVar[int]
    HAS_ROOM_FIELD_NUMBER: _ClassVar[int]
    OBSTACLES_FIELD_NUMBER: _ClassVar[int]
    ceiling: float
    priorities: _containers.RepeatedScalarFieldContainer[int]
    has_room: bool
    obstacles: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, ceiling: _Optional[float] = ..., priorities: _Optional[_Iterable[int]] = ..., has_room: _Optional[bool] = ..., obstacles: _Optional[_Iterable[str]] = ...) -> None: ...

class GetRequestRequest(_message.Message):
    __slots__ = ("request_id", "hash_flow_ids")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    HASH_FLOW_IDS_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    hash_flow_ids: bool
    def __init__(self, request_id: _Optional[int] = ..., hash_flow_ids: _Optional[bool] = ...) -> None: ...

class GetRequestResponse(_message.Message):
    __slots__ = ("queued", "running", "unknown", "now_s")
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    NOW_S_FIELD_NUMBER: _ClassVar[int]
    queued: QueuedStory
    running: RunningRequest
    unknown: UnknownStory
    now_s: float
    def __init__(self, queued: _Optional[_Union[QueuedStory, _Mapping]] = ..., running: _Optional[_Union[RunningRequest, _Mapping]] = ..., unknown: _Optional[_Union[UnknownStory, _Mapping]] = ..., now_s: _Optional[float] = ...) -> None: ...

class QueuedStory(_message.Message):
    __slots__ = ("request", "flow", "position", "position_basis", "position_in_flow", "ahead_in_higher_bands", "position_at_entry", "blocked_at_entry", "estimated_wait_s")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    FLOW_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    POSITION_BASIS_FIELD_NUMBER: _ClassVar[int]
    POSITION_IN_FLOW_FIELD_NUMBER: _ClassVar[int]
    AHEAD_IN_HIGHER_BANDS_FIELD_NUMBER: _ClassVar[int]
    POSITION_AT_ENTRY_FIELD_NUMBER: _ClassVar[int]
    BLOCKED_AT_ENTRY_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_WAIT_S_FIELD_NUMBER: _ClassVar[int]
    request: QueuedRequest
    flow: Flow
    position: int
    position_basis: str
    position_in_flow: int
    ahead_in_higher_bands: int
    position_at_entry: int
    blocked_at_entry: str
    estimated_wait_s: float
    def __init__(self, request: _Optional[_Union[QueuedRequest, _Mapping]] = ..., flow: _Optional[_Union[Flow, _Mapping]] = ..., position: _Optional[int] = ..., position_basis: _Optional[str] = ..., position_in_flow: _Optional[int] = ..., ahead_in_higher_bands: _Optional[int] = ..., position_at_entry: _Optional[int] = ..., blocked_at_entry: _Optional[str] = ..., estimated_wait_s: _Optional[float] = ...) -> None: ...

class UnknownStory(_message.Message):
    __slots__ = ("request_id",)
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: int
    def __init__(self, request_id: _Optional[int] = ...) -> None: ...

class GetPolicyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetPolicyResponse(_message.Message):
    __slots__ = ("policy", "now_s")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    NOW_S_FIELD_NUMBER: _ClassVar[int]
    policy: PolicyInForce
    now_s: float
    def __init__(self, policy: _Optional[_Union[PolicyInForce, _Mapping]] = ..., now_s: _Optional[float] = ...) -> None: ...

class PolicyInForce(_message.Message):
    __slots__ = ("capacity", "ceiling", "caps", "default_band", "default_negative_band", "bands", "faults")
    class CapsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class FaultsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    CEILING_FIELD_NUMBER: _ClassVar[int]
    CAPS_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_BAND_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_NEGATIVE_BAND_FIELD_NUMBER: _ClassVar[int]
    BANDS_FIELD_NUMBER: _ClassVar[int]
    FAULTS_FIELD_NUMBER: _ClassVar[int]
    capacity: Policy
    ceiling: Policy
    caps: _containers.ScalarMap[str, str]
    default_band: BandRules
    default_negative_band: BandRules
    bands: _containers.RepeatedCompositeFieldContainer[BandRules]
    faults: _containers.ScalarMap[str, int]
    def __init__(self, capacity: _Optional[_Union[Policy, _Mapping]] = ..., ceiling: _Optional[_Union[Policy, _Mapping]] = ..., caps: _Optional[_Mapping[str, str]] = ..., default_band: _Optional[_Union[BandRules, _Mapping]] = ..., default_negative_band: _Optional[_Union[BandRules, _Mapping]] = ..., bands: _Optional[_Iterable[_Union[BandRules, _Mapping]]] = ..., faults: _Optional[_Mapping[str, int]] = ...) -> None: ...

class Policy(_message.Message):
    __slots__ = ("name", "parameters")
    class ParametersEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    name: str
    parameters: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., parameters: _Optional[_Mapping[str, str]] = ...) -> None: ...

class BandRules(_message.Message):
    __slots__ = ("priority", "fairness", "ordering", "caps")
    class CapsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    FAIRNESS_FIELD_NUMBER: _ClassVar[int]
    ORDERING_FIELD_NUMBER: _ClassVar[int]
    CAPS_FIELD_NUMBER: _ClassVar[int]
    priority: int
    fairness: Policy
    ordering: Policy
    caps: _containers.ScalarMap[str, str]
    def __init__(self, priority: _Optional[int] = ..., fairness: _Optional[_Union[Policy, _Mapping]] = ..., ordering: _Optional[_Union[Policy, _Mapping]] = ..., caps: _Optional[_Mapping[str, str]] = ...) -> None: ...
