"""What gateways and we tell each other in metadata: the subset they allow, the endpoint we chose.

The subset: namespace `envoy.lb.subset_hint`, key `x-gateway-destination-endpoint-subset`, a list of `ip:port` or a
string of them with commas; a port may be missing. Where the key is there, only what it names may be used: an empty
list, or a value that can't be understood, names nothing. Where it is not, any endpoint may be used.

The choice: namespace `envoy.lb`, key and value those of the header, because some gateways read only here.

The endpoint that a response came from: namespace `envoy.lb`, key `x-gateway-destination-endpoint-served`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from epp.core.eligibility import Eligibility, Subset
from epp.extproc.headers import DESTINATION, SUBSET

if TYPE_CHECKING:
    from epp.extproc.wire import ext_proc_pb2 as wire

_HINT_NAMESPACE: Final = "envoy.lb.subset_hint"
_DESTINATION_NAMESPACE: Final = "envoy.lb"
_SERVED: Final = "x-gateway-destination-endpoint-served"


def subset_hint(message: wire.ProcessingRequest) -> Eligibility | None:
    """The subset that this message restricts its request to; None if it says nothing about that."""
    if not message.HasField("metadata_context"):
        return None
    namespace = message.metadata_context.filter_metadata.get(_HINT_NAMESPACE)
    if namespace is None or SUBSET not in namespace.fields:
        return None
    value = namespace.fields[SUBSET]
    # A value of any other kind has no list and an empty string, and so names nothing.
    if value.HasField("list_value"):
        return Subset.of(entry.string_value for entry in value.list_value.values)
    return Subset.of(value.string_value.split(","))


def served_endpoint(message: wire.ProcessingRequest) -> str:
    """The endpoint that the response came from, by the gateway's word; '' if it doesn't say."""
    if not message.HasField("metadata_context"):
        return ""
    namespace = message.metadata_context.filter_metadata.get(_DESTINATION_NAMESPACE)
    if namespace is None or _SERVED not in namespace.fields:
        return ""
    return namespace.fields[_SERVED].string_value


def set_destination(response: wire.ProcessingResponse, address: str) -> None:
    """Tell the gateway the endpoint in dynamic metadata as well."""
    namespace = response.dynamic_metadata.fields[_DESTINATION_NAMESPACE].struct_value
    namespace.fields[DESTINATION].string_value = address
