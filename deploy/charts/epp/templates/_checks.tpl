{{/*
What can't work is refused with a remedy, before anything is installed. The schema of the values refuses typing
mistakes; here stands what needs words.
*/}}
{{- define "epp.checks" -}}
{{- range $key, $now := dict
  "inferenceExtension" "router.epp and router.monitoring"
  "inferencePool" "router.inferencePool and router.modelServers"
  "inferenceObjectives" "router.inferenceObjectives"
  "experimentalHttpRoute" "httpRoute" }}
{{- if hasKey $.Values $key }}
{{- fail (printf "%s is of the older inferencepool chart; its values are now under %s" $key $now) }}
{{- end }}
{{- end }}
{{- range $key := list "tokenizer" "latencyPredictor" "tracing" }}
{{- if hasKey $.Values.router $key }}
{{- fail (printf "router.%s is not there: this picker has no %s; remove it" $key $key) }}
{{- end }}
{{- end }}
{{- $epp := .Values.router.epp }}
{{- $pool := .Values.router.inferencePool }}
{{- if hasKey $epp "parsers" }}
{{- fail "router.epp.parsers: parsers are named in the EndpointPickerConfig here; use router.epp.pluginsCustomConfig" }}
{{- end }}
{{- if hasKey $epp "pluginsConfig" }}
{{- fail "router.epp.pluginsConfig: give the whole file as text in router.epp.pluginsCustomConfig, and its name in router.epp.pluginsConfigFile" }}
{{- end }}
{{- if hasKey $epp "autoscaling" }}
{{- fail "router.epp.autoscaling: one picker serves at a time, so more of them add no capacity; use router.epp.replicas for standbys" }}
{{- end }}
{{- if hasKey $epp "terminationGracePeriodSeconds" }}
{{- fail "router.epp.terminationGracePeriodSeconds follows from drainTimeoutSeconds and streamDrainTimeoutSeconds; set those" }}
{{- end }}
{{- if hasKey .Values.router.modelServers "targetPortNumber" }}
{{- fail "router.modelServers.targetPortNumber: write router.modelServers.targetPorts: [{number: ...}]" }}
{{- end }}
{{- if not (has $pool.failureMode (list "FailOpen" "FailClose")) }}
{{- fail (printf "router.inferencePool.failureMode is %q; it must be FailOpen or FailClose, without a d" $pool.failureMode) }}
{{- end }}
{{- range $flag, $value := dict
  "pool-name" "router.inferencePool.name"
  "pool-namespace" "the release's namespace"
  "endpoint-selector" "router.inferencePool.create: false and router.modelServers.matchLabels"
  "endpoint-target-ports" "router.modelServers.targetPorts"
  "gateway-profile" "provider.name"
  "config-file" "router.epp.pluginsConfigFile"
  "config-text" "router.epp.pluginsCustomConfig"
  "grpc-port" "router.epp.extProcPort"
  "grpc-health-port" "router.epp.grpcHealthPort"
  "metrics-port" "no value; it is 9090"
  "cert-path" "router.epp.tls.secretName"
  "drain-timeout" "router.epp.drainTimeoutSeconds"
  "stream-drain-timeout" "router.epp.streamDrainTimeoutSeconds"
  "lease-duration" "router.epp.leaseDuration"
  "lease-loss" "router.epp.leaseLoss"
  "metrics-endpoint-auth" "router.monitoring.prometheus.auth.enabled"
  "objects" "none: in a cluster the objects come from the API server" }}
{{- if hasKey $epp.flags $flag }}
{{- fail (printf "router.epp.flags.%s: the chart sets it, from %s" $flag $value) }}
{{- end }}
{{- end }}
{{- if hasKey $epp.flags "ha-enable-leader-election" }}
{{- fail "router.epp.flags.ha-enable-leader-election: the chart sets it when router.epp.replicas is more than 1. Several pickers without it would each fill the same servers" }}
{{- end }}
{{- if and (or $pool.create (not $pool.name)) (not .Values.router.modelServers.matchLabels) }}
{{- fail "router.modelServers.matchLabels is required: the labels that every pod of your model servers carries, such as {app: vllm-llama}" }}
{{- end }}
{{- if and (ne $epp.pluginsConfigFile "default-plugins.yaml") (not (hasKey $epp.pluginsCustomConfig $epp.pluginsConfigFile)) }}
{{- fail (printf "router.epp.pluginsConfigFile is %q, which is not a key of router.epp.pluginsCustomConfig" $epp.pluginsConfigFile) }}
{{- end }}
{{- if and $epp.tls.secretName (not (include "epp.tls" .)) }}
{{- fail "router.epp.tls.secretName gives a certificate, and router.epp.flags.secure-serving: false serves without one; drop one of the two" }}
{{- end }}
{{- if and $epp.networkPolicy.enabled (not .Values.router.modelServers.matchLabels) (not $epp.networkPolicy.extraEgress) }}
{{- fail "router.epp.networkPolicy.enabled would cut the picker off from the model servers: say which they are in router.modelServers.matchLabels, or allow them in router.epp.networkPolicy.extraEgress" }}
{{- end }}
{{- if .Values.router.proxy.enabled }}
{{- if ne .Values.provider.name "none" }}
{{- fail (printf "router.proxy.enabled puts an Envoy into the picker's pod, and provider.name is %q; with a gateway in front leave the proxy out, without one set provider.name: none" .Values.provider.name) }}
{{- end }}
{{- if or (ne (int $epp.extProcPort) 9002) (not (include "epp.tls" .)) }}
{{- fail "router.proxy.enabled: its Envoy asks port 9002 with TLS; leave router.epp.extProcPort and router.epp.flags.secure-serving as they are" }}
{{- end }}
{{- if ne .Values.router.modelServers.protocol "http" }}
{{- fail "router.proxy.enabled: its Envoy speaks HTTP/1.1 to the model servers; leave router.modelServers.protocol at http" }}
{{- end }}
{{- end }}
{{- if eq .Values.provider.name "envoy-gateway" }}
{{- if or $pool.create $pool.name }}
{{- fail "provider.name envoy-gateway: Envoy Gateway alone knows no InferencePool; set router.inferencePool.create: false, or use envoy-ai-gateway" }}
{{- end }}
{{- if include "epp.tls" . }}
{{- fail "provider.name envoy-gateway: it would speak plaintext to a port with TLS; set router.epp.flags.secure-serving: false (the policy then asks in plaintext inside the cluster)" }}
{{- end }}
{{- else if and .Values.httpRoute.create (not (include "epp.pool" .)) }}
{{- fail "httpRoute.create: a route needs an InferencePool to lead to; set router.inferencePool.create or router.inferencePool.name" }}
{{- end }}
{{- if and (eq .Values.provider.name "gke") (not (include "epp.pool" .)) }}
{{- fail "provider.name gke: its policies are for an InferencePool; set router.inferencePool.create or router.inferencePool.name" }}
{{- end }}
{{- if and (eq .Values.provider.name "nginx") (eq $pool.failureMode "FailOpen") }}
{{- fail "provider.name nginx: NGINX Gateway Fabric takes a refusal for a failure, so FailOpen would let through exactly what the picker refuses; set router.inferencePool.failureMode: FailClose" }}
{{- end }}
{{- end -}}
