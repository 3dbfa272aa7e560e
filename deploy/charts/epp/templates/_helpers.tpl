{{/* The name of everything that the picker is made of. */}}
{{- define "epp.name" -}}
{{ .Release.Name | lower | trunc 40 | trimSuffix "-" }}-epp
{{- end -}}

{{/* A name for what has no namespace. */}}
{{- define "epp.clusterName" -}}
{{ .Release.Namespace }}-{{ include "epp.name" . }}
{{- end -}}

{{- define "epp.selectorLabels" -}}
app.kubernetes.io/name: epp
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "epp.labels" -}}
{{ include "epp.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* The InferencePool that is served; empty if the picker selects the pods itself. */}}
{{- define "epp.pool" -}}
{{- if or .Values.router.inferencePool.create .Values.router.inferencePool.name -}}
{{ .Values.router.inferencePool.name | default .Release.Name }}
{{- end -}}
{{- end -}}

{{/* The name that objectives refer to: without an InferencePool, that of the Deployment. */}}
{{- define "epp.poolRefName" -}}
{{ include "epp.pool" . | default (include "epp.name" .) }}
{{- end -}}

{{- define "epp.image" -}}
{{- with .Values.router.epp.image.registry }}{{ trimSuffix "/" . }}/{{ end -}}
{{ .Values.router.epp.image.repository }}:{{ .Values.router.epp.image.tag | default .Chart.AppVersion }}
{{- end -}}

{{/* true when replicas elect a leader; empty otherwise. */}}
{{- define "epp.elects" -}}
{{- if gt (int .Values.router.epp.replicas) 1 }}true{{ end -}}
{{- end -}}

{{/* The Lease, as the picker names it. */}}
{{- define "epp.lease" -}}
epp-{{ .Release.Namespace }}-{{ include "epp.poolRefName" . }}.llm-d.ai
{{- end -}}

{{/* What the gateway speaks to the model servers, in an InferencePool's words. */}}
{{- define "epp.appProtocol" -}}
{{- if eq .Values.router.modelServers.protocol "grpc" }}kubernetes.io/h2c{{ else }}http{{ end -}}
{{- end -}}

{{/* app=vllm,tier=gpu */}}
{{- define "epp.endpointSelector" -}}
{{- $pairs := list -}}
{{- range $key, $value := .Values.router.modelServers.matchLabels }}{{ $pairs = append $pairs (printf "%s=%v" $key $value) }}{{ end -}}
{{ join "," $pairs }}
{{- end -}}

{{/* 8000,8001 */}}
{{- define "epp.targetPorts" -}}
{{- $numbers := list -}}
{{- range .Values.router.modelServers.targetPorts }}{{ $numbers = append $numbers (int .number | toString) }}{{ end -}}
{{ join "," $numbers }}
{{- end -}}

{{- define "epp.firstTargetPort" -}}
{{ int (index .Values.router.modelServers.targetPorts 0).number }}
{{- end -}}

{{/* Whether the ext_proc port speaks TLS; empty if not. */}}
{{- define "epp.tls" -}}
{{- if ne (index .Values.router.epp.flags "secure-serving" | toString) "false" }}true{{ end -}}
{{- end -}}

{{- define "epp.metricsReader" -}}
{{ include "epp.name" . }}-metrics-reader
{{- end -}}

{{- define "epp.metricsSecret" -}}
{{ .Values.router.monitoring.prometheus.auth.secretName | default (include "epp.metricsReader" .) }}
{{- end -}}

{{/* The configuration that fits the values. */}}
{{- define "epp.defaultConfig" -}}
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
featureGates: [flowControl]
plugins:
# Among the endpoints with room, the one that scores best gets the request.
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: running-requests-size-scorer
- type: max-score-picker
# An endpoint has room by what its engine says of its own queue and cache.
- type: utilization-detector
- type: metrics-data-source
  parameters:
    scheme: {{ .Values.router.epp.metricsDataSource.scheme }}
    {{- with .Values.router.epp.metricsDataSource.path }}
    path: {{ . | quote }}
    {{- end }}
    insecureSkipVerify: {{ .Values.router.epp.metricsDataSource.insecureSkipVerify }}
- type: core-metrics-extractor
  parameters:
    defaultEngine: {{ .Values.router.modelServers.type }}
schedulingProfiles:
- name: default
  plugins:
  - pluginRef: queue-scorer
    weight: 2
  - pluginRef: kv-cache-utilization-scorer
    weight: 2
  - pluginRef: running-requests-size-scorer
    weight: 1
  - pluginRef: max-score-picker
dataLayer:
  sources:
  - pluginRef: metrics-data-source
    extractors:
    - pluginRef: core-metrics-extractor
flowControl:
  defaultRequestTTL: {{ .Values.router.epp.defaultRequestTTL }}
  saturationDetector:
    pluginRef: utilization-detector
{{- end -}}
