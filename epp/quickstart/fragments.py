"""The text of Envoy's configuration, cut into the pieces that `envoy` puts together.

Text only: which piece is used when, and what its `$names` stand for, is decided there. Every piece starts at
column 0 and ends with a newline.
"""

# ruff: noqa: E501 - a type URL can't be wrapped

from string import Template

DUPLEX_INTRO = """\
# Envoy in front of the picker, duplex: both bodies pass through the picker, which so learns how many tokens a
# response had and whether it was complete. `epp serve` on its default ports is the other half.
"""

LEAN_INTRO = """\
# Envoy in front of the picker, lean: the response's body does not pass through the picker, which saves both
# of them work for every chunk. The picker still learns when a response ends. `epp serve` on its default ports
# is the other half.
"""

LEAST_REQUEST_INTRO = """\
# Envoy alone: every request goes at once to the model server with the fewest requests by Envoy's own count.
# For comparison with the picker.
"""

ROUND_ROBIN_INTRO = """\
# Envoy alone: every request goes at once to the model server whose turn it is. For comparison with the picker.
"""

BOOTSTRAP = Template("""\
$intro
admin:
  address:
    socket_address: { address: $admin_host, port_value: $admin_port }

# Envoy wants to be told how many clients it may have at once.
overload_manager:
  resource_monitors:
  - name: envoy.resource_monitors.global_downstream_max_connections
    typed_config:
      "@type": type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig
      max_active_downstream_connections: $max_requests

static_resources:
  listeners:
  - name: gateway
    address:
      socket_address: { address: $listen_host, port_value: $listen_port }
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
$connection_manager$listener_tls
  clusters:
$clusters""")

CONNECTION_MANAGER = Template("""\
"@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
stat_prefix: gateway
# A request that waits in the picker's queue is idle to Envoy, and so is a response that isn't streamed.
# This must be longer than the longest wait; Envoy's default of 5 minutes would answer 504.
stream_idle_timeout: ${idle_timeout_s}s
${early_words}early_header_mutation_extensions:
- name: envoy.http.early_header_mutation.header_mutation
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation
    mutations:
    - remove: x-gateway-destination-endpoint
${mutations}${access_log}route_config:
  name: everything
  virtual_hosts:
  - name: everything
    domains: ["*"]
    routes:
    - match: { prefix: "/" }
      route:
        cluster: model_servers
        timeout: 0s   # none: the default of 15 s would cut long answers
http_filters:
${filters}- name: envoy.filters.http.router
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
""")

DESTINATION_WORDS = """\
# The destination is the picker's word alone: what a client sends under its name goes before any filter runs.
"""

IDENTITY_WORDS = """\
# Neither the destination nor whose a request is are for the client to say: what it sends under these names goes
# before any filter runs.
"""

TRUSTED_CLIENTS = """\
# As it is, clients say themselves whose a request is, and a new name for every request gets around fairness. To go by
# what a client can prove, uncomment the two removals above and this filter, and put your own keys in. Who has none of
# them gets 401. docs/tenants.md has the same for signed tokens, for certificates, and for other gateways.
"""

ACCESS_LOG = Template("""\
access_log:
- name: envoy.access_loggers.file
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
    path: $path
    log_format:
      json_format:
        start: "%START_TIME%"
        request_id: "%REQ(X-REQUEST-ID)%"
        method: "%REQ(:METHOD)%"
        path: "%PATH(NQ)%"
        status: "%RESPONSE_CODE%"
        details: "%RESPONSE_CODE_DETAILS%"
        endpoint: "%UPSTREAM_REMOTE_ADDRESS%"
        duration_ms: "%DURATION%"
        request_bytes: "%BYTES_RECEIVED%"
        response_bytes: "%BYTES_SENT%"
""")

EXT_PROC_FILTER = Template("""\
- name: envoy.filters.http.ext_proc
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor
    grpc_service:
      envoy_grpc: { cluster_name: picker }
    # Longer than the longest wait, like the idle timeout above.
    message_timeout: ${message_timeout_s}s
    # true would let requests pass while the picker is away; without a destination they'd still end in a 503.
    failure_mode_allow: $failure_mode_allow
    status_on_error: { code: ServiceUnavailable }
    processing_mode:
$modes    metadata_options:
      # A subset of endpoints that an earlier filter or route allows is told to the picker ...
      forwarding_namespaces:
        untyped: [envoy.lb.subset_hint, envoy.lb]
      # ... and its choice comes back here as well as in the header.
      receiving_namespaces:
        untyped: [envoy.lb]
""")

DUPLEX_MODES = """\
request_header_mode: SEND
request_body_mode: FULL_DUPLEX_STREAMED
request_trailer_mode: SEND
response_header_mode: SEND
response_body_mode: FULL_DUPLEX_STREAMED
response_trailer_mode: SEND
"""

LEAN_MODES = """\
request_header_mode: SEND
request_body_mode: FULL_DUPLEX_STREAMED
request_trailer_mode: SEND
response_header_mode: SEND
response_body_mode: NONE
# Trailers are seldom there, but asking for them keeps the conversation open until the response ends, and
# that end is what frees the place on the model server.
response_trailer_mode: SEND
"""

ORIGINAL_DST_CLUSTER = Template("""\
# Whatever address the picker names. There is no list of model servers here: the picker has it.
- name: model_servers
  type: ORIGINAL_DST
  lb_policy: CLUSTER_PROVIDED
  original_dst_lb_config:
    use_http_header: true
    http_header_name: x-gateway-destination-endpoint
  connect_timeout: 5s
  # Envoy's default of 1024 requests at once would answer 503 when more are running.
  circuit_breakers:
    thresholds:
    - max_connections: $max_requests
      max_pending_requests: $max_requests
      max_requests: $max_requests
  typed_extension_protocol_options:
    envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
      "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
      # Shorter than the 5 s after which vLLM and SGLang close an idle connection: who sends a request on a
      # connection that is just being closed gets a 503.
      common_http_protocol_options: { idle_timeout: 4s }
      explicit_http_config:
        $protocol: {}
""")

LEAST_REQUEST_POLICY = """\
name: envoy.load_balancing_policies.least_request
typed_config:
  "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest
  # Compare all servers, not two at random: the best that this policy can do.
  selection_method: FULL_SCAN
"""

ROUND_ROBIN_POLICY = """\
name: envoy.load_balancing_policies.round_robin
typed_config:
  "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin
"""

BASELINE_CLUSTER = Template("""\
- name: model_servers
  type: STATIC
  load_balancing_policy:
    policies:
    - typed_extension_config:
$policy  connect_timeout: 5s
  circuit_breakers:
    thresholds:
    - max_connections: $max_requests
      max_pending_requests: $max_requests
      max_requests: $max_requests
  typed_extension_protocol_options:
    envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
      "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
      common_http_protocol_options: { idle_timeout: 4s }
      explicit_http_config:
        $protocol: {}
  load_assignment:
    cluster_name: model_servers
    endpoints:
    - lb_endpoints:
$endpoints""")

PICKER_CLUSTER = Template("""\
- name: picker
  type: $discovery
  connect_timeout: 5s
$replicas  # Every waiting request is one open stream to the picker, so this is wider than its queue.
  circuit_breakers:
    thresholds:
    - max_connections: $max_requests
      max_pending_requests: $max_requests
      max_requests: $max_requests
  typed_extension_protocol_options:
    envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
      "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
      explicit_http_config:
        http2_protocol_options:
          # With more than this unsent, Envoy ends the connection and all streams on it fail. Its defaults, 1,000 resets
          # and 10,000 frames, are passed when thousands of clients hang up, or come, in the same instant.
          max_outbound_control_frames: 100000
          max_outbound_frames: 100000
$keepalive$transport  load_assignment:
    cluster_name: picker
    endpoints:
    - lb_endpoints:
$endpoints""")

REPLICAS = Template("""\
# Of several replicas the one that leads is ready. Without the zero, Envoy would fall back on all of them as soon as
# fewer than half are.
common_lb_config: { healthy_panic_threshold: { value: 0 } }
health_checks:
- interval: ${interval_s}s
  no_traffic_interval: ${interval_s}s
  timeout: ${interval_s}s
  unhealthy_threshold: 1
  healthy_threshold: 1
  grpc_health_check: { service_name: envoy.service.ext_proc.v3.ExternalProcessor }
""")

KEEPALIVE = Template("""\
# Notices a picker that went away without a word.
connection_keepalive: { interval: ${interval_s}s, timeout: 10s }
""")

UNVERIFIED_TLS = """\
# The picker's certificate is self-signed unless it was given one; to verify it, add a validation_context.
transport_socket:
  name: envoy.transport_sockets.tls
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext
    common_tls_context:
      alpn_protocols: [h2]
"""

ENDPOINT = Template("""\
  - endpoint:
      address:
        socket_address: { address: $host, port_value: $port }
""")
